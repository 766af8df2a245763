/// The rules of the options that change the scores of the next token: repetition penalty, n-gram
/// blocking, forbidden tokens, earliest end and forced tokens, in the order of Hugging Face.
struct LogitRules {
    private let options: GenerationOptions
    private let bannedTokens: [Int32]
    /// For each token the number of the last row in which it was penalised, so that a token that
    /// occurs several times in a row is penalised once without clearing a set per row.
    private var stampOf: [UInt32]
    private var stamp: UInt32 = 0

    init(options: GenerationOptions, vocabulary: Int) {
        self.options = options
        bannedTokens = options.badTokens.filter { !options.eosTokens.contains($0) }
        stampOf = options.repetitionPenalty == 1 ? [] : [UInt32](repeating: 0, count: vocabulary)
    }

    /// The one token that the options allow after `length` tokens (with the start token), if they
    /// force one. The end wins over the beginning when the sequence has one token.
    func forcedToken(length: Int) -> Int32? {
        if length == options.maxNewTokens, let end = options.forcedEosToken { return end }
        return length == 1 ? options.forcedBosToken : nil
    }

    /// Applies the rules to one row of scores.
    ///
    /// - Parameters:
    ///   - scores: logits, or log-probabilities in beam search, of several rows; changed in place.
    ///   - range: where the row lies in `scores`.
    ///   - histories: the tokens so far, of which `historyRow` is the row's.
    mutating func apply(
        to scores: inout [Float], in range: Range<Int>, histories: Histories, historyRow: Int
    ) {
        let positions = histories.range(of: historyRow)
        let base = range.lowerBound
        if let forced = forcedToken(length: positions.count) {
            for index in range { scores[index] = -.infinity }
            scores[base + Int(forced)] = 0
            return
        }
        if options.repetitionPenalty != 1 { penaliseRepetition(&scores, base, histories.tokens, positions) }
        if options.noRepeatNgramSize > 0 { blockRepeatedNgrams(&scores, base, histories.tokens, positions) }
        for token in bannedTokens { scores[base + Int(token)] = -.infinity }
        if positions.count - 1 < options.minNewTokens {
            for token in options.eosTokens { scores[base + Int(token)] = -.infinity }
        }
    }

    private mutating func penaliseRepetition(
        _ scores: inout [Float], _ base: Int, _ history: [Int32], _ positions: Range<Int>
    ) {
        stamp &+= 1
        if stamp == 0 {
            for token in stampOf.indices { stampOf[token] = 0 }
            stamp = 1
        }
        for position in positions {
            let token = Int(history[position])
            guard stampOf[token] != stamp else { continue }
            stampOf[token] = stamp
            let score = scores[base + token]
            scores[base + token] =
                score < 0 ? score * options.repetitionPenalty : score / options.repetitionPenalty
        }
    }

    /// Forbids every token that once followed the last `n - 1` tokens of the history.
    private func blockRepeatedNgrams(
        _ scores: inout [Float], _ base: Int, _ history: [Int32], _ positions: Range<Int>
    ) {
        let prefix = options.noRepeatNgramSize - 1
        guard positions.count > prefix else { return }
        let suffixStart = positions.upperBound - prefix
        for start in positions.lowerBound..<suffixStart {
            var matched = 0
            while matched < prefix, history[start + matched] == history[suffixStart + matched] { matched += 1 }
            if matched == prefix { scores[base + Int(history[start + prefix])] = -.infinity }
        }
    }
}
