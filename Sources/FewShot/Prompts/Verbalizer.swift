import Files
import Support

/// How a label word of several tokens is scored at the answer position.
public enum MultiToken: String, Sendable, CaseIterable {
    /// The score of its first token.
    case first
    /// The mean over its tokens of their scores.
    case mean
}

/// The words that stand for each class at the answer position (Schick and Schütze 2021 call it the verbalizer).
public struct Verbalizer: Sendable, Equatable {
    /// The classes, numbered in this order.
    public let labels: [String]
    /// The words of each class, one or more.
    public let words: [[String]]

    /// All words, class after class: the columns of word scores.
    public var allWords: [String] { words.flatMap(\.self) }

    /// Reads `{"negative": ["bad", "terrible"], "positive": "great"}`; the order of the file is that of the classes.
    ///
    /// Throws as `JSON.read`, and `SeamError(.format)` for a value that is not a word or an array of words, fewer than
    /// two labels, a label without words, an empty word or one with space around it (the template says whether a space
    /// comes before it), and a word that stands twice.
    public init(path: String) throws {
        try self.init(JSON.read(path), name: path)
    }

    /// Reads JSON that is in memory, as above; `name` is the file or argument that it came from.
    public init(_ json: JSON, name: String) throws {
        guard let members = json.objectValue else {
            throw SeamError(.format, "\(name): expected an object of labels and their words, found \(json.kind)")
        }
        let words = try members.map { label, value in
            if let word = value.stringValue { return [word] }
            let elements = value.arrayValue ?? [value]
            return try elements.map { element in
                guard let word = element.stringValue else {
                    throw SeamError(
                        .format,
                        "\(name): label \"\(label)\" must have a word or an array of words, found \(element.kind)")
                }
                return word
            }
        }
        try self.init(labels: members.map(\.key), words: words, name: name)
    }

    /// Every label is its own word, with spaces for underscores and dashes: "card_arrival" is "card arrival".
    ///
    /// Throws as above; two labels may come to the same word.
    public init(labels: [String], name: String = "the labels") throws {
        let words = labels.map { label in
            let scalars = label.unicodeScalars.map { $0 == "_" || $0 == "-" ? " " : $0 }
            return [String(String.UnicodeScalarView(scalars))]
        }
        try self.init(labels: labels, words: words, name: name)
    }

    private init(labels: [String], words: [[String]], name: String) throws {
        guard labels.count >= 2 else {
            throw SeamError(.format, "\(name): expected 2 labels or more, found \(labels.count)")
        }
        var owners: [TextKey: String] = [:]
        for (label, words) in zip(labels, words) {
            guard !words.isEmpty else { throw SeamError(.format, "\(name): label \"\(label)\" has no words") }
            for word in words {
                guard let first = word.unicodeScalars.first, let last = word.unicodeScalars.last else {
                    throw SeamError(.format, "\(name): label \"\(label)\" has an empty word")
                }
                guard !first.properties.isWhitespace, !last.properties.isWhitespace else {
                    throw SeamError(
                        .format,
                        "\(name): the word \(word.debugDescription) of label \"\(label)\" begins or ends with white"
                            + " space; the template says whether a space comes before it")
                }
                guard let owner = owners.updateValue(label, forKey: TextKey(word)) else { continue }
                let place =
                    TextKey(owner) == TextKey(label)
                    ? "twice for label \"\(label)\"" : "for \"\(owner)\" and for \"\(label)\""
                throw SeamError(.format, "\(name): the word \"\(word)\" stands \(place)")
            }
        }
        self.labels = labels
        self.words = words
    }

    /// The score of each class: the maximum over its words.
    ///
    /// - Parameters:
    ///   - wordScores: `count` x `allWords.count`, row by row.
    ///   - count: the number of texts.
    /// - Returns: `count` x `labels.count`.
    /// - Throws: `SeamError(.shape)` for another number of scores.
    public func classScores(wordScores: [Float], count: Int) throws -> [Float] {
        let columns = words.reduce(0) { $0 + $1.count }
        try checkCount(wordScores.count, "wordScores", rows: count, columns: columns)
        var scores: [Float] = []
        scores.reserveCapacity(count * labels.count)
        var place = 0
        for _ in 0..<count {
            for words in words {
                // Words are one or more, so that there is a maximum.
                scores.append(wordScores[place..<place + words.count].max() ?? -.infinity)
                place += words.count
            }
        }
        return scores
    }
}
