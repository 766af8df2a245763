import Glibc

/// How tokens of times stand in what a speech model writes (WhisperTimeStampLogitsProcessor of transformers): a text begins
/// with one, they stand in pairs but before the end and do not go back, and where all of them together are more probable
/// than any other token, one of them comes.
struct TimestampRules {
    /// Says that there are no times, and is never written; all tokens behind it are times.
    let none: Int
    /// Tokens before this one are text.
    let textEnd: Int
    /// How many times behind the first one a text may begin with; nil: any.
    let maxInitialIndex: Int?

    /// Forbids what may not follow.
    /// - Parameters:
    ///   - scores: logits or log-probabilities; changed in place.
    ///   - range: where the row lies in `scores`.
    ///   - written: what the row has been given since its prompt.
    func apply(to scores: inout [Float], in range: Range<Int>, written: ArraySlice<Int32>) {
        let (base, first) = (range.lowerBound, none + 1)
        func forbid(_ tokens: Range<Int>) {
            for token in tokens { scores[base + token] = -.infinity }
        }
        func isTime(_ token: Int32) -> Bool { Int(token) >= first }
        forbid(none..<first)
        if written.isEmpty {
            forbid(0..<first)
            if let most = maxInitialIndex, most < range.count - first - 1 {
                forbid(first + max(most + 1, 0)..<range.count)
            }
        }
        let endsWithTime = written.last.map(isTime) ?? false
        let before = written.dropLast().last.map(isTime) ?? true
        if endsWithTime, before {
            forbid(first..<range.count)
        } else if endsWithTime {
            forbid(0..<min(textEnd, range.count))
        }
        if let last = written.last(where: isTime) {
            // A pair may say the same time twice.
            forbid(first..<min(Int(last) + (endsWithTime && !before ? 0 : 1), range.count))
        }
        let times = base + first..<range.upperBound
        guard let largest = scores[times].max(), largest > -.infinity else { return }
        let sum = largest + RowMath.logSumExp(scores.span.extracting(times), largest: largest)
        if let text = scores[base..<times.lowerBound].max(), sum > text { forbid(0..<first) }
    }
}
