import Datasets
import Support

/// The training examples of an experiment: for every number of shots and every seed a draw of its own, all checked
/// before a model is asked about any of them.
public struct FewShotDraws: Sendable {
    /// One draw.
    public struct Draw: Sendable {
        /// Examples of each class.
        public let shots: Int
        /// The seed of the draw, and of what is trained on it.
        public let seed: UInt64
        /// Rows of the data set, as `Shots.training`.
        public let rows: [Int]
    }

    public let training: LabelledTexts
    /// The draws by shots, in the order given, then by seeds.
    public let all: [Draw]
    /// The numbers of shots.
    public let shots: [Int]

    /// - Parameter allowingDuplicates: whether a draw may hold a text twice.
    /// - Throws: `.invalidArgument` for no shots or seeds and as `Shots`, and as `LabelledTexts.checkTraining`.
    public init(
        from training: LabelledTexts, shots: [Int], seeds: [UInt64], allowingDuplicates: Bool = false
    ) throws {
        guard !shots.isEmpty, !seeds.isEmpty else {
            throw SeamError(.invalidArgument, "an experiment needs a number of shots and a seed")
        }
        (self.training, self.shots) = (training, shots)
        all = try shots.flatMap { shots in
            try seeds.map { seed in
                let rows = try Shots(from: training, perClass: shots, seed: seed).training
                try training.checkTraining(rows: rows, allowingDuplicates: allowingDuplicates)
                return Draw(shots: shots, seed: seed, rows: rows)
            }
        }
    }

    /// The texts of a draw.
    func inputs(_ draw: Draw) -> [InputText] { draw.rows.map { training.inputs[$0] } }
    /// Their classes.
    func labels(_ draw: Draw) -> [Int] { draw.rows.map { training.labels[$0] } }
}
