import Engine
import Glibc
import SeamHost
import Support

/// Heads on decoder.output, of which the one is chosen that answers best about examples that it has not seen: each is
/// fitted anew without some of the training examples and asked about these. Nothing but the answers that a model has given
/// already is needed.
///
/// Up to 64 examples are left out one at a time, more in 16 groups, each with about as many of every class. Only examples
/// whose class has another one count, since nothing could be learned of a class without it. A candidate is measured by how
/// many it answers right, and by the mean of -log p of the right class, its scores being scaled as suits it best.
public struct LeaveOneOut: Sendable {
    /// Of each candidate the mean of -log p of the right class; empty where no example could be left out.
    public var losses: [Double] { answers.map(\.loss) }
    private let answers: [Answers]

    /// What a candidate said of the examples that were left out.
    private struct Answers {
        let right: Int
        /// -log p of the right class, of each example.
        let losses: [Double]
        var loss: Double { losses.reduce(0, +) / Double(losses.count) }
    }

    /// The best candidate: the one with more right answers, of those with as many the one with the lower loss, of those that
    /// are level there, too, the last one. The first one where nothing could be left out.
    /// - Parameter doubted: a candidate with much to learn, which a few examples may favour by chance: it has to be better
    ///   than the best of the others by more than a standard error of the difference of the losses, as well.
    public func best(doubting doubted: Int? = nil) -> Int {
        guard !answers.isEmpty else { return 0 }
        func isBetter(_ one: Answers, _ other: Answers) -> Bool {
            one.right == other.right ? one.loss <= other.loss + Self.margin : one.right > other.right
        }
        let certain = answers.indices.filter { $0 != doubted }
        guard var best = certain.first else { return 0 }
        for index in certain.dropFirst() where isBetter(answers[index], answers[best]) { best = index }
        guard let doubted, isBetter(answers[doubted], answers[best]) else { return best }
        let differences = zip(answers[best].losses, answers[doubted].losses).map { $0 - $1 }
        let (count, mean) = (Double(differences.count), differences.reduce(0, +) / Double(differences.count))
        let variance = differences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / max(count - 1, 1)
        return mean > (variance / count).squareRoot() ? doubted : best
    }

    private static let margin = 1e-6
    private static let mostAlone = 64, groupsOfMore = 16
    /// Half powers of 2, from 1/256 to 256.
    private static let scales = (-16...16).map { exp2(Double($0) / 2) }

    /// Measures candidates. Their adapters are afterwards as they were before.
    /// - Parameters:
    ///   - candidates: the adapters of each in the order in which they run, made for the same features.
    ///   - scores, hidden, labels, emptyScores, options: as those of `FewShot.fit`.
    ///   - progress: called before each fit; false stops with `.cancelled`.
    /// - Throws: as `FewShot.fit`.
    public init(
        candidates: [[Adapter]], scores: [Float], hidden: [Float], labels: [Int32], emptyScores: [Float]? = nil,
        options: HeadTrainingOptions = HeadTrainingOptions(), progress: () -> Bool = { true }
    ) throws {
        let groups = Self.groups(labels)
        answers =
            try groups.isEmpty
            ? []
            : candidates.map { adapters in
                let sizes = try HeadSizes(adapters)
                try checkLabels(labels, count: labels.count, classes: sizes.classes)
                // Their counts are checked before rows of them are read.
                try withFeatures(scores, hidden, count: labels.count, sizes) { _, _ in }
                let before = adapters.map { $0.parameters.entries.map(\.tensor.floats) }
                func restore() {
                    for (adapter, values) in zip(adapters, before) {
                        for (entry, old) in zip(adapter.parameters.entries, values) { entry.tensor.assign(old) }
                    }
                }
                defer { restore() }
                var said: [(label: Int32, scores: [Float])] = []
                for group in groups {
                    guard progress() else { throw SeamError(.cancelled, "the choice of a head was stopped") }
                    let known = labels.indices.filter { !group.contains($0) }
                    func rows(_ values: [Float], _ places: [Int]) -> [Float] {
                        let count = values.count / labels.count
                        return places.flatMap { values[$0 * count..<($0 + 1) * count] }
                    }
                    restore()
                    _ = try fit(
                        adapters: adapters, scores: rows(scores, known), hidden: rows(hidden, known),
                        labels: known.map { labels[$0] }, emptyScores: emptyScores, options: options)
                    let found = try classScores(
                        adapters: adapters, scores: rows(scores, group), hidden: rows(hidden, group))
                    for (row, place) in group.enumerated() {
                        said.append(
                            (labels[place], Array(found[row * sizes.classes..<(row + 1) * sizes.classes])))
                    }
                }
                return Self.measured(said)
            }
    }

    /// The places of the examples that are left out together, those of each class dealt out in turn.
    package static func groups(_ labels: [Int32]) -> [[Int]] {
        let byClass = Dictionary(grouping: labels.indices) { labels[$0] }
        let counted = byClass.sorted { $0.key < $1.key }.map(\.value).filter { $0.count > 1 }.flatMap(\.self)
        guard !counted.isEmpty else { return [] }
        let count = counted.count <= mostAlone ? counted.count : groupsOfMore
        return (0..<count).map { group in stride(from: group, to: counted.count, by: count).map { counted[$0] } }
    }

    private static func measured(_ said: [(label: Int32, scores: [Float])]) -> Answers {
        let right = said.count { label, scores in scores.firstIndex(of: scores.max()!) == Int(label) }
        return scales.map { scale in Answers(right: right, losses: losses(said, scale: scale)) }
            .min { $0.loss < $1.loss }!
    }

    private static func losses(_ said: [(label: Int32, scores: [Float])], scale: Double) -> [Double] {
        said.map { label, scores in
            let scores = scores.map { scale * Double($0) }
            let highest = scores.max() ?? 0
            return log(scores.reduce(0) { $0 + exp($1 - highest) }) + highest - scores[Int(label)]
        }
    }
}
