/// The tokens of one piece while they are merged.
struct MergingTokens {
    private(set) var ids: [Int32] = []
    /// The merge of each token with the next one, in short pieces.
    private var pairs: [UInt64] = []
    private var next: [Int32] = []
    private var previous: [Int32] = []
    private var queue = MinHeap()

    /// Up to how many tokens the lowest merge is looked for by going through all.
    private static let shortCount = 48

    mutating func removeAll() { ids.removeAll(keepingCapacity: true) }
    mutating func append(_ id: Int32) { ids.append(id) }

    /// Merges, always the pair of the lowest rank and of those the leftmost, until no two neighbours merge.
    mutating func merge(by table: MergeTable) {
        guard ids.count > 1 else { return }
        if ids.count <= Self.shortCount { mergeShort(table) } else { mergeLong(table) }
    }

    private mutating func mergeShort(_ table: MergeTable) {
        pairs.removeAll(keepingCapacity: true)
        for place in 1..<ids.count { pairs.append(table.merge(ids[place - 1], ids[place])) }
        while true {
            var lowest = MergeTable.none
            var place = 0
            for candidate in pairs.indices
            where MergeTable.rank(of: pairs[candidate]) < MergeTable.rank(of: lowest) {
                lowest = pairs[candidate]
                place = candidate
            }
            if lowest == MergeTable.none { return }
            ids[place] = MergeTable.result(of: lowest)
            ids.remove(at: place + 1)
            pairs.remove(at: place)
            if place > 0 { pairs[place - 1] = table.merge(ids[place - 1], ids[place]) }
            if place < pairs.count { pairs[place] = table.merge(ids[place], ids[place + 1]) }
        }
    }

    /// A linked list with a queue of merges, some of which are outdated when their turn comes.
    private mutating func mergeLong(_ table: MergeTable) {
        let count = ids.count
        next = Array(1...Int32(count))
        previous = Array(-1..<Int32(count - 1))
        queue.removeAll()
        for place in 0..<count - 1 { enqueue(place, table) }
        while let entry = queue.pop() {
            let place = Int(entry & 0xFFFF_FFFF)
            let right = Int(next[place])
            guard right < count else { continue }
            let merge = table.merge(ids[place], ids[right])
            guard merge != MergeTable.none, MergeTable.rank(of: merge) == entry >> 32 else { continue }
            ids[place] = MergeTable.result(of: merge)
            next[place] = next[right]
            if Int(next[right]) < count { previous[Int(next[right])] = Int32(place) }
            // A token that is gone has no neighbour, so what is queued for it is passed over.
            next[right] = Int32(count)
            ids[right] = -1
            if previous[place] >= 0 { enqueue(Int(previous[place]), table) }
            enqueue(place, table)
        }
        ids.removeAll { $0 < 0 }
    }

    private mutating func enqueue(_ place: Int, _ table: MergeTable) {
        let right = Int(next[place])
        guard right < ids.count else { return }
        let merge = table.merge(ids[place], ids[right])
        if merge != MergeTable.none { queue.push(UInt64(MergeTable.rank(of: merge)) << 32 | UInt64(place)) }
    }
}

/// A queue that gives the lowest number first.
private struct MinHeap {
    private var numbers: [UInt64] = []

    mutating func removeAll() { numbers.removeAll(keepingCapacity: true) }

    mutating func push(_ number: UInt64) {
        numbers.append(number)
        var place = numbers.count - 1
        while place > 0, numbers[place] < numbers[(place - 1) / 2] {
            numbers.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    mutating func pop() -> UInt64? {
        guard let lowest = numbers.first else { return nil }
        numbers.swapAt(0, numbers.count - 1)
        numbers.removeLast()
        var place = 0
        while 2 * place + 1 < numbers.count {
            var child = 2 * place + 1
            if child + 1 < numbers.count, numbers[child + 1] < numbers[child] { child += 1 }
            if numbers[place] <= numbers[child] { break }
            numbers.swapAt(place, child)
            place = child
        }
        return lowest
    }
}
