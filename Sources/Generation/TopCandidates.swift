/// The best few of many scored tokens, best first; equal scores keep the order in which they came.
///
/// A sorted list of fixed capacity: after the first few hundred tokens nearly every token fails one
/// comparison with the last entry, eight tokens at a time.
struct TopCandidates {
    struct Entry {
        var score: Float
        var token: Int32
        /// Which of several offered rows the token belongs to.
        var group: Int
    }

    private let capacity: Int
    private var entries: [Entry] = []

    init(capacity: Int) {
        self.capacity = capacity
        entries.reserveCapacity(capacity + 1)
    }

    var count: Int { entries.count }

    subscript(index: Int) -> Entry { entries[index] }

    mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

    /// Offers one entry.
    mutating func offer(_ entry: Entry) {
        if entries.count == capacity {
            guard entry.score > entries[capacity - 1].score else { return }
            entries.removeLast()
        }
        var position = entries.count
        while position > 0, entries[position - 1].score < entry.score { position -= 1 }
        entries.insert(entry, at: position)
    }

    /// Offers every token of a row with the score `row[token] + base`.
    mutating func offer(_ row: Span<Float>, plus base: Float, group: Int) {
        var token = 0
        while token < row.count {
            // Blocks without a better token are skipped as a whole, once there is a worst entry.
            if entries.count == capacity, token + RowMath.width <= row.count {
                let scores = RowMath.load(row.extracting(token..<token + RowMath.width)) + base
                guard any(scores .> entries[capacity - 1].score) else {
                    token += RowMath.width
                    continue
                }
            }
            let end = min(token + RowMath.width, row.count)
            while token < end {
                offer(Entry(score: row[token] + base, token: Int32(token), group: group))
                token += 1
            }
        }
    }
}
