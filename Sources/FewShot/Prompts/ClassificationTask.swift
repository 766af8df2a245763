import Files
import Glibc
import SeamHost
import Support

/// What a label word's score is taken to be.
public enum LabelScore: String, Sendable, CaseIterable {
    /// The model's logit, as in the published code of DecT; of a server the logarithm of a probability.
    case logit
    /// Its probability among the label words: positive, so that dividing by it is always defined. For sentence encoders,
    /// whose similarities may be near zero.
    case probability
}

/// A classification as a question to a model: the prompt or prompts, and the words that answer them.
public struct ClassificationTask: Sendable {
    /// The prompts about each text, one or more.
    public let templates: [Template]
    /// The first of them.
    public var template: Template { templates[0] }
    public var verbalizer: Verbalizer
    public var multiToken: MultiToken
    public var scoreKind: LabelScore

    public init(
        template: Template, verbalizer: Verbalizer, multiToken: MultiToken = .first, scoreKind: LabelScore = .logit
    ) {
        (templates, self.verbalizer, self.multiToken, self.scoreKind) = ([template], verbalizer, multiToken, scoreKind)
    }

    /// The same with several prompts about each text.
    /// - Throws: `.invalidArgument` for no template, more than 1000, one that is given twice, and where some have a place
    ///   for a second text and others none.
    public init(
        templates: [Template], verbalizer: Verbalizer, multiToken: MultiToken = .first, scoreKind: LabelScore = .logit
    ) throws {
        guard (1...1000).contains(templates.count) else {
            throw SeamError(.invalidArgument, "a task must have 1 ... 1000 templates, found \(templates.count)")
        }
        var known: Set<TextKey> = []
        for template in templates {
            guard known.insert(TextKey(template.source)).inserted else {
                throw SeamError(.invalidArgument, "the template \(template.source.debugDescription) is given twice")
            }
            guard template.needsTextB == templates[0].needsTextB else {
                throw SeamError(
                    .invalidArgument,
                    "all templates of a task must have {text_b} or none, found \(templates[0].source.debugDescription) and \(template.source.debugDescription)"
                )
            }
        }
        (self.templates, self.verbalizer, self.multiToken, self.scoreKind) = (
            templates, verbalizer, multiToken, scoreKind
        )
    }

    /// Each of the prompts as a task of its own.
    var parts: [ClassificationTask] {
        templates.map {
            ClassificationTask(template: $0, verbalizer: verbalizer, multiToken: multiToken, scoreKind: scoreKind)
        }
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
            "schema": .int(Int64(Self.schema)),
            templates.count == 1 ? "template" : "templates": templates.count == 1
                ? .string(template.source) : .array(templates.map { .string($0.source) }),
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
        let known = ["schema", "template", "templates", "labels", "multi_token", "scores"]
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
        try self.init(
            templates: try Self.templates(json, name: name),
            verbalizer: try Verbalizer(.object(try json.requireObject("labels", in: name)), name: name),
            multiToken: try choice("multi_token", default: .first),
            scoreKind: try choice("scores", default: .logit))
    }

    private static func templates(_ json: JSON, name: String) throws -> [Template] {
        guard json["templates"] != nil else { return [try Template(try json.requireString("template", in: name))] }
        guard json["template"] == nil else {
            throw SeamError(
                .format, "\(name): \"template\" and \"templates\" are both there, and one of them is needed")
        }
        return try json.requireArray("templates", in: name).map { element in
            guard let source = element.stringValue else {
                throw SeamError(.format, "\(name): \"templates\" must be strings, found \(element.kind)")
            }
            return try Template(source)
        }
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
