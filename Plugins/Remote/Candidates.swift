import SeamPlugin

/// The most likely next tokens after a prompt, with the natural logarithms of their probabilities.
struct Candidates {
    private var tokens: [(text: [UInt8], logProbability: Float)] = []
    private var lowest = Float.infinity

    /// Below this a server says "none": no softmax in floats or doubles gives it (exp(-746) is 0 in a double), but some
    /// write -9999 or the smallest float where they have no number.
    static let none = -1000.0

    /// Adds a token as the server writes it.
    /// - Throws: when its value is no log-probability.
    mutating func add(_ text: [UInt8], _ value: Node, from source: String) throws(Problem) {
        guard let number = value.number else {
            throw Problem(.numeric, "\(source) sent a log-probability that is null, NaN or infinite")
        }
        // A little above 0 is rounding.
        guard number < 0.01 else {
            throw Problem(.format, "\(source) sent a log-probability above 0: it may send probabilities instead")
        }
        guard number > Self.none else { return }
        tokens.append((Self.spaced(text), Float(min(number, 0))))
        lowest = min(lowest, Float(min(number, 0)))
    }

    var isEmpty: Bool { tokens.isEmpty }

    /// The score of each answer: that of the token that is the whole word; or, with `allowsPrefixes`, of the longest
    /// token that the word starts with. An answer without such a token gets the lowest score there is, which that of a
    /// token that is not listed cannot exceed; `isListed` tells the two apart.
    ///
    /// The server leaves the space out of what it writes if no token at all starts with one (SentencePiece decoders
    /// do), and answers are compared without theirs.
    func scores(of answers: [[UInt8]], allowsPrefixes: Bool) -> [(score: Float, isListed: Bool)] {
        let writesSpaces = tokens.contains { $0.text.first == space }
        return answers.map { answer in
            let wanted = writesSpaces || answer.first != space ? answer[...] : answer.dropFirst()
            var (longest, score) = (0, lowest)
            for token in tokens where token.text.count >= max(longest, allowsPrefixes ? 1 : wanted.count) {
                // A lone space begins every word and tells nothing of any.
                guard wanted.starts(with: token.text), !token.text.allSatisfy({ $0 == space }) else { continue }
                // Different tokens may read the same (bytes of a character): the likelier one is the word's.
                if token.text.count == longest && token.logProbability <= score { continue }
                (longest, score) = (token.text.count, token.logProbability)
            }
            return (score, longest > 0)
        }
    }

    /// A token with a plain space for the marks that vocabularies write for it: U+0120 of byte-level ones, U+2581 of
    /// SentencePiece.
    private static func spaced(_ text: [UInt8]) -> [UInt8] {
        for mark in [[0xc4, 0xa0], [0xe2, 0x96, 0x81]] as [[UInt8]] where text.starts(with: mark) {
            return [space] + text.dropFirst(mark.count)
        }
        return text
    }
}

private let space = UInt8(ascii: " ")
