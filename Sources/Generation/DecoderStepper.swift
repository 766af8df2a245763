/// What a search needs from a decoder: one step for a batch of rows, and a gather of rows.
///
/// A row is one sequence being decoded, with everything its next step depends on: the cache of its
/// past tokens and the encoder states and mask it attends to. `generate` starts with one row per
/// batch item, in item order, and nothing decoded.
///
/// A stepper belongs to one thread at a time; it need not be `Sendable`.
public protocol DecoderStepper: AnyObject {
    /// Number of logits per row: 1 or more, and the same for every step.
    var vocabularySize: Int { get }

    /// Decodes one token in every row and gives the logits of the token that follows.
    ///
    /// - Parameters:
    ///   - tokens: the newest token of each row, `[rows]`. All rows have the same number of tokens.
    ///   - logits: receives `[rows, vocabularySize]`, row-major, from index 0. The buffer is made for
    ///     the largest number of rows of the search and reused; its count must not change.
    /// - Throws: whatever the decoder reports; the search passes it on unchanged.
    func step(tokens: [Int32], into logits: inout [Float]) throws

    /// Replaces the rows by a gather: new row `i` continues from a copy of old row `rows[i]`.
    ///
    /// This one operation opens the beams of an item (a row named several times), moves beams, and
    /// drops finished items (rows not named), so `rows.count` may differ from the number of rows
    /// before. It is at least 1 and at most `batch * options.rowsPerItem`. It is not called when it
    /// would change nothing.
    ///
    /// - Parameter rows: old row numbers, each in `0..<` the number of rows before the call.
    /// - Throws: whatever the decoder reports; the search passes it on unchanged.
    func reorder(rows: [Int32]) throws
}
