import Files
import Support

/// Each piece is cut into the tokens whose scores, logarithms of probabilities, have the greatest sum (Kudo,
/// "Subword Regularization", 2018), without sampling.
struct Unigram: TokenizerModel {
    private let vocabulary: Vocabulary
    private let trie: ByteTrie
    private let scores: [Double]
    let unknownID: Int32?
    /// What a character without a token counts: 10 below the lowest score.
    private let unknownScore: Double
    private let byteIDs: [Int32?]?
    private let place: String

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "vocab", "unk_id", "byte_fallback")
        guard let elements = part.member("vocab")?.arrayValue else {
            throw part.error(.format, "must have an array of tokens with their scores as \"vocab\"")
        }
        var vocabulary = Vocabulary(minimumCapacity: elements.count)
        var scores: [Double] = []
        for (number, element) in elements.enumerated() {
            guard let pair = element.arrayValue, pair.count == 2, let token = pair[0].stringValue,
                let score = pair[1].doubleValue
            else {
                throw part.error(.format, "must have a token with its score at \(number) of \"vocab\"")
            }
            let id = Int32(number)
            guard vocabulary.insert(token, id: id) == nil else {
                throw part.error(.unsupported, "has the token \"\(token)\" twice")
            }
            scores.append(score)
        }
        let unknown = (part.member("unk_id") ?? .null) == .null ? nil : try part.id("unk_id")
        if let unknown, unknown >= elements.count {
            throw part.error(.format, "has the \"unk_id\" \(unknown), expected one of the \(elements.count) tokens")
        }
        self.init(
            vocabulary, scores: scores, spelled: { _ in true }, unknown: unknown,
            byteFallback: try part.bool("byte_fallback", default: false), place: part.place)
    }

    /// - Parameters:
    ///   - vocabulary: of ids from 0 without a gap, with a score for each.
    ///   - spelled: whether a token may be a part of a text; the scores of others do not count.
    ///   - place: of the file, for error sentences.
    init(
        _ vocabulary: Vocabulary, scores: [Double], spelled: (Int) -> Bool, unknown: Int32?, byteFallback: Bool,
        place: String
    ) {
        var trie = ByteTrie()
        vocabulary.forEach { token, id in
            if !token.isEmpty, spelled(Int(id)) { _ = trie.insert(Array(token), id) }
        }
        byteIDs = byteFallback ? (0...255).map { vocabulary.id(of: byteToken($0)) } : nil
        unknownID = unknown
        unknownScore = (scores.indices.filter(spelled).map { scores[$0] }.min() ?? 0) - 10
        (self.vocabulary, self.trie, self.scores, self.place) = (vocabulary, trie, scores, place)
    }

    var size: Int { vocabulary.count }
    func id(of token: String) -> Int32? { vocabulary.id(of: token) }
    func token(of id: Int32) -> String? { vocabulary.token(of: id) }

    /// The best way to a place in the text: over the token that starts at `start`.
    private struct Step {
        var score = 0.0
        var start = -1
        var isUnknown = false
    }

    func append(_ pieces: Pieces, to ids: inout [Int32]) throws {
        var steps: [Step] = []
        for range in pieces.ranges {
            try findBestPath(pieces.text, range, &steps)
            var found: [Range<Int>] = []
            var end = range.upperBound
            var unknownFollows = false
            while end > range.lowerBound {
                let step = steps[end - range.lowerBound]
                // Unknown characters side by side are one unknown token.
                if step.isUnknown && unknownFollows {
                    found[found.count - 1] = step.start..<found[found.count - 1].upperBound
                } else {
                    found.append(step.start..<end)
                }
                unknownFollows = step.isUnknown
                end = step.start
            }
            for token in found.reversed() { try append(pieces.text, token, to: &ids) }
        }
    }

    private func findBestPath(_ text: [UInt8], _ range: Range<Int>, _ steps: inout [Step]) throws {
        steps.removeAll(keepingCapacity: true)
        steps.append(contentsOf: repeatElement(Step(), count: range.count + 1))
        var start = range.lowerBound
        while start < range.upperBound {
            let score = steps[start - range.lowerBound].score
            let next = start + lengthOfScalar(text[start])
            var hasCharacter = false
            trie.forEachPrefix(of: text, start..<range.upperBound) { end, id in
                let step = Step(score: score + scores[Int(id)], start: start, isUnknown: id == unknownID)
                Self.improve(&steps[end - range.lowerBound], by: step)
                if end == next { hasCharacter = true }
            }
            if !hasCharacter {
                let step = Step(score: score + unknownScore, start: start, isUnknown: true)
                let isBetter = Self.improve(&steps[next - range.lowerBound], by: step)
                guard unknownID != nil || !isBetter else {
                    let character = String(decoding: text[start..<next], as: UTF8.self)
                    throw SeamError(.notFound, "\(place) has no token \"\(character)\", and no \"unk_id\"")
                }
            }
            start = next
        }
    }

    @discardableResult
    private static func improve(_ step: inout Step, by other: Step) -> Bool {
        guard step.start < 0 || other.score > step.score else { return false }
        step = other
        return true
    }

    private func append(_ text: [UInt8], _ token: Range<Int>, to ids: inout [Int32]) throws {
        if let id = vocabulary.id(of: text, token) {
            ids.append(id)
            return
        }
        if let byteIDs {
            let bytes = text[token].compactMap { byteIDs[Int($0)] }
            if bytes.count == token.count {
                ids += bytes
                return
            }
        }
        // Only unknown stretches are no tokens, and there are none without an id for them.
        if let unknownID { ids.append(unknownID) }
    }
}
