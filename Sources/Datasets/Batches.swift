import Support

extension PairDataset {
    /// The row numbers of each batch, rows in the order of the file; the last batch may be smaller.
    public func batches(size: Int) throws -> [[Int]] {
        try Datasets.batches(Array(0..<count), size: size)
    }

    /// The row numbers of each batch for one pass over the shuffled rows; every row comes once, the last batch
    /// may be smaller.
    ///
    /// The order depends on the generator's numbers only, as `shuffledOrder` says, so that a run with the same
    /// seed can be repeated on another machine and with another release of Swift.
    public func batches(size: Int, shuffledBy generator: inout some RandomNumberGenerator) throws -> [[Int]] {
        try Datasets.batches(shuffledOrder(count, by: &generator), size: size)
    }

    /// Batches as above, with rows of like length in one batch, which leaves less padding.
    ///
    /// The rows are shuffled, each window of `window` batches is sorted by the length of source and then target,
    /// rows of equal lengths in shuffled order, and cut into batches; then all batches are shuffled.
    public func batches(
        size: Int, groupedByLengthIn window: Int, shuffledBy generator: inout some RandomNumberGenerator
    ) throws -> [[Int]] {
        guard window > 0 else {
            throw SeamError(.invalidArgument, "the window of batches must be 1 or more, found \(window)")
        }
        let order = shuffledOrder(count, by: &generator)
        let (rows, overflows) = max(size, 1).multipliedReportingOverflow(by: window)
        let batches = try stride(from: 0, to: count, by: overflows ? Int.max : rows).flatMap { start in
            let part = order[start..<min(count, overflows ? count : start + rows)]
            let sorted = part.enumerated().sorted { left, right in
                lengths(left.element, left.offset) < lengths(right.element, right.offset)
            }
            return try Datasets.batches(sorted.map(\.element), size: size)
        }
        return shuffledOrder(batches.count, by: &generator).map { batches[$0] }
    }

    private func lengths(_ row: Int, _ place: Int) -> (Int, Int, Int) {
        (sources[row].count, targets[row].count, place)
    }
}

/// The numbers `0..<count` in random order, by Fisher and Yates from the last place to the second one: place i
/// is exchanged with place j, of `0...i`. With r the generator's next number, j is the upper half of the 128-bit
/// product r * (i + 1); numbers whose lower half is under 2^64 mod (i + 1) are skipped, so that all orders are
/// equally likely.
public func shuffledOrder(_ count: Int, by generator: inout some RandomNumberGenerator) -> [Int] {
    var order = Array(0..<count)
    for place in stride(from: count - 1, to: 0, by: -1) {
        let choices = UInt64(place + 1)
        let threshold = (0 &- choices) % choices
        var product = generator.next().multipliedFullWidth(by: choices)
        while product.low < threshold { product = generator.next().multipliedFullWidth(by: choices) }
        order.swapAt(place, Int(product.high))
    }
    return order
}

/// Row numbers in their order, cut into batches of `size`; the last one may be smaller.
///
/// Throws `SeamError(.invalidArgument)` for a size below 1.
public func batches(_ rows: [Int], size: Int) throws -> [[Int]] {
    guard size > 0 else {
        throw SeamError(.invalidArgument, "the batch size must be 1 or more, found \(size)")
    }
    return stride(from: 0, to: rows.count, by: size).map { Array(rows[$0..<min(rows.count, $0 + size)]) }
}
