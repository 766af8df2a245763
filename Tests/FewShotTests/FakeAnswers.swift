import Datasets
import FewShot
import Support

/// A source whose answers are numbers of the text alone, and which can be told to fail.
final class FakeAnswers: AnswerSource {
    var identity: String?
    let width: Int
    var hasScores: Bool { words > 0 }
    /// Texts that were asked, in order.
    private(set) var asked: [String] = []
    var queryCount: Int { asked.count }
    /// Texts that it answers before it fails; nil: all.
    var limit: Int?
    private let words: Int
    private let hidden: (String) -> [Float]

    /// - Parameter words: the number of label words; 0: a model without a head.
    init(words: Int, identity: String? = "fake", width: Int = 2, hidden: ((String) -> [Float])? = nil) {
        (self.words, self.identity, self.width) = (words, identity, width)
        self.hidden = hidden ?? { text in (0..<width).map { Float(text.utf8.count) + Float($0) / 4 } }
    }

    /// What it says of a text.
    func scores(_ text: String) -> [Float] { (0..<words).map { Float(text.utf8.count % 7) - Float($0) } }

    /// Last texts first, two at a time.
    func answer(
        _ inputs: [InputText], shouldContinue: () -> Bool, deliver: ([Int], AnswerFeatures) throws -> Void
    ) throws {
        for end in stride(from: inputs.count, to: 0, by: -2) {
            guard shouldContinue() else { throw SeamError(.cancelled, "asking was cancelled") }
            let rows = Array((max(0, end - 2)..<end).reversed())
            if let limit, asked.count + rows.count > limit { throw SeamError(.io, "the line is dead") }
            let texts = rows.map { inputs[$0].text }
            asked += texts
            let features = AnswerFeatures(scores: texts.flatMap(scores), hidden: texts.flatMap(hidden))
            try deliver(rows, features)
        }
    }
}
