/// The rules of the options that change the scores of the next token: biases, repetition penalty, n-gram blocking,
/// forbidden words, earliest end, forced and suppressed tokens, times, in the order of Hugging Face.
struct LogitRules {
    private let options: GenerationOptions
    private let bannedWords: [SequenceBias]
    private let times: TimestampRules?
    /// The tokens of each item's source; empty where no rule is about them.
    private let sources: [[Int32]]
    /// The number of the last row in which each token was penalised, so that a token that
    /// occurs several times in a row is penalised once without clearing a set per row.
    private var stampOf: [UInt32]
    private var stamp: UInt32 = 0

    /// - Parameter sources: of each item the tokens of its source; nil where it has none.
    init(options: GenerationOptions, vocabulary: Int, sources: [[Int32]]?) {
        self.options = options
        self.sources = options.encoderNoRepeatNgramSize > 0 ? sources ?? [] : []
        bannedWords = options.badWords.filter { word in !options.eosTokens.contains { [$0] == word } }
            .map { SequenceBias(tokens: $0, bias: -.infinity) }
        times = options.speech?.timestampRules(ends: options.eosTokens)
        stampOf = options.repetitionPenalty == 1 ? [] : [UInt32](repeating: 0, count: vocabulary)
    }

    /// Applies the rules to one row of scores.
    ///
    /// - Parameters:
    ///   - scores: logits, or log-probabilities in beam search, of several rows; changed in place.
    ///   - range: where the row lies in `scores`.
    ///   - histories: the tokens so far, of which `row` is the row's.
    ///   - item: whose source is the row's.
    ///   - limit: the most tokens that the row may get.
    mutating func apply(
        to scores: inout [Float], in range: Range<Int>, histories: Histories, row: Int, item: Int, limit: Int
    ) {
        let context = histories.context(of: row)
        let base = range.lowerBound
        let (prompt, generated) = (histories.promptLength(of: row), histories.generated)
        add(options.sequenceBiases, &scores, base, histories.tokens, context)
        if options.repetitionPenalty != 1 { penaliseRepetition(&scores, base, histories.tokens, context) }
        if options.noRepeatNgramSize > 0 {
            block(options.noRepeatNgramSize, of: histories.tokens[context], &scores, base, histories.tokens, context)
        }
        if item < sources.count {
            block(options.encoderNoRepeatNgramSize, of: sources[item][...], &scores, base, histories.tokens, context)
        }
        add(bannedWords, &scores, base, histories.tokens, context)
        if generated < options.least(behind: prompt) {
            for token in options.eosTokens { scores[base + Int(token)] = -.infinity }
        }
        if let forced = options.forcedBosToken, context.count == 1 { force([forced], &scores, range) }
        if generated == limit - 1, !options.forcedEosTokens.isEmpty { force(options.forcedEosTokens, &scores, range) }
        for token in options.suppressTokens { scores[base + Int(token)] = -.infinity }
        if generated == (prompt == 1 && options.forcedBosToken != nil ? 1 : 0) {
            for token in options.beginSuppressTokens { scores[base + Int(token)] = -.infinity }
        }
        times?.apply(to: &scores, in: range, written: histories.tokens[context].suffix(generated))
    }

    /// Leaves these tokens alone, each with a score of 0.
    private func force(_ tokens: [Int32], _ scores: inout [Float], _ range: Range<Int>) {
        for index in range { scores[index] = -.infinity }
        for token in tokens { scores[range.lowerBound + Int(token)] = 0 }
    }

    /// Adds each bias whose sequence the context has up to its last token.
    private func add(
        _ biases: [SequenceBias], _ scores: inout [Float], _ base: Int, _ history: [Int32], _ context: Range<Int>
    ) {
        for bias in biases {
            let before = bias.tokens.dropLast()
            guard before.count <= context.count,
                before.elementsEqual(history[(context.upperBound - before.count)..<context.upperBound])
            else { continue }
            scores[base + Int(bias.tokens[before.count])] += bias.bias
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

    /// Forbids every token that in a text follows the last `size - 1` tokens of the history.
    private func block(
        _ size: Int, of text: ArraySlice<Int32>, _ scores: inout [Float], _ base: Int, _ history: [Int32],
        _ positions: Range<Int>
    ) {
        let prefix = size - 1
        guard positions.count >= prefix, text.count > prefix else { return }
        let suffix = positions.upperBound - prefix
        for start in text.startIndex..<text.endIndex - prefix {
            var matched = 0
            while matched < prefix, text[start + matched] == history[suffix + matched] { matched += 1 }
            if matched == prefix { scores[base + Int(text[start + prefix])] = -.infinity }
        }
    }
}
