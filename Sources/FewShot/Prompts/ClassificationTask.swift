import Files
import Glibc
import Session
import Support

/// What a label word's score is taken to be.
public enum LabelScore: String, Sendable, CaseIterable {
    /// The model's logit, as in the published code of DecT; of a server the logarithm of a probability.
    case logit
    /// Its probability among the label words: positive, so that dividing by it is always defined. For sentence encoders,
    /// whose similarities may be near zero.
    case probability
}

/// A classification as a question to a model: the prompt, and the words that answer it.
public struct ClassificationTask: Sendable {
    public var template: Template
    public var verbalizer: Verbalizer
    public var multiToken: MultiToken
    public var scoreKind: LabelScore

    public init(
        template: Template, verbalizer: Verbalizer, multiToken: MultiToken = .first, scoreKind: LabelScore = .logit
    ) {
        (self.template, self.verbalizer, self.multiToken, self.scoreKind) = (
            template, verbalizer, multiToken, scoreKind
        )
    }

    /// The number of classes.
    public var classes: Int { verbalizer.labels.count }

    /// What the scores that an adapter on decoder.output is given are, where `info` describes the model that is asked.
    public func seamScores(of info: BackboneInfo) -> ScoreKind {
        if scoreKind == .probability { return .probabilities }
        // Cosines with label descriptions are scaled, so that a softmax makes probabilities of them.
        return info.architecture == .text ? .logProbabilities : .logits
    }

    /// The revision of `json`; a newer one is refused.
    private static let schema = 1

    /// The task as it is saved with an adapter.
    public var json: JSON {
        [
            "schema": .int(Int64(Self.schema)), "template": .string(template.source),
            "multi_token": .string(multiToken.rawValue), "scores": .string(scoreKind.rawValue),
            "labels": .object(
                zip(verbalizer.labels, verbalizer.words).map { label, words in
                    (key: label, value: .array(words.map { .string($0) }))
                }),
        ]
    }

    /// Reads what `json` gives. `name` is the file or argument it came from.
    /// - Throws: `SeamError(.incompatible)` for a newer revision, `.format` for an unknown key, a value that is not one of the choices, and as `Template` and
    ///   `Verbalizer`.
    public init(_ json: JSON, name: String) throws {
        let known = ["schema", "template", "labels", "multi_token", "scores"]
        let revision = try json.optionalInt("schema", in: name) ?? Self.schema
        guard revision == Self.schema else {
            throw SeamError(
                .incompatible,
                "\(name): schema of a task must be \(Self.schema), which this version reads, found \(revision)")
        }
        if let stranger = json.objectValue?.first(where: { !known.containsExactly($0.key) }) {
            throw SeamError(
                .format, "\(name): unknown key \"\(stranger.key)\"; known are \(known.joined(separator: ", "))")
        }
        func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, default value: Choice) throws -> Choice
        where Choice.RawValue == String {
            guard let text = try json.optionalString(key, in: name) else { return value }
            guard let found = Choice(rawValue: text) else {
                let choices = Choice.allCases.map(\.rawValue).joined(separator: ", ")
                throw SeamError(.format, "\(name): \"\(key)\" must be one of \(choices), found \"\(text)\"")
            }
            return found
        }
        self.init(
            template: try Template(try json.requireString("template", in: name)),
            verbalizer: try Verbalizer(.object(try json.requireObject("labels", in: name)), name: name),
            multiToken: try choice("multi_token", default: .first),
            scoreKind: try choice("scores", default: .logit))
    }

    /// Class scores from the logits of the label words: of several words, the greatest.
    /// - Parameters:
    ///   - words: row-major [count x words].
    ///   - kind: nil for the task's own.
    /// - Returns: row-major [count x classes].
    func classScores(words: [Float], count: Int, kind: LabelScore? = nil) throws -> [Float] {
        let columns = verbalizer.allWords.count
        var scores = words
        if kind ?? scoreKind == .probability {
            for row in stride(from: 0, to: scores.count, by: columns) {
                let largest = scores[row..<row + columns].max() ?? 0
                var sum: Float = 0
                for place in row..<row + columns {
                    scores[place] = exp(scores[place] - largest)
                    sum += scores[place]
                }
                for place in row..<row + columns { scores[place] /= sum }
            }
        }
        return try verbalizer.classScores(wordScores: scores, count: count)
    }
}
