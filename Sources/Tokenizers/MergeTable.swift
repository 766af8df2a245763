/// The merges of byte pair encoding: which two tokens make which, and how early.
struct MergeTable: Sendable {
    /// Stands above every merge.
    static let none = PairTable.none

    private var table: PairTable

    init(minimumCapacity: Int) { table = PairTable(minimumCapacity: minimumCapacity) }

    /// Sets what `left` and `right` become; a merge of the same two from before is replaced.
    mutating func insert(_ left: Int32, _ right: Int32, rank: UInt32, result: Int32) {
        table.insert(left, right, UInt64(rank) << 32 | UInt64(UInt32(bitPattern: result)))
    }

    /// The merge of two tokens or `none`. Of two merges that of the lesser rank goes first.
    func merge(_ left: Int32, _ right: Int32) -> UInt64 { table[left, right] }

    static func rank(of merge: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: merge >> 32) }
    static func result(of merge: UInt64) -> Int32 { Int32(truncatingIfNeeded: merge) }
}

/// Values by two numbers that are 0 or more. A table with open addressing, for it is asked several times per byte of
/// text, which a `Dictionary` makes ten times as slow.
struct PairTable: Sendable {
    /// What is given for a pair without a value; no value may be this one.
    static let none = UInt64.max

    private var keys: [UInt64]
    private var values: [UInt64]
    private var count = 0

    init(minimumCapacity: Int = 0) {
        var slotCount = 16
        while slotCount < 2 * minimumCapacity { slotCount *= 2 }
        keys = Array(repeating: Self.none, count: slotCount)
        values = Array(repeating: Self.none, count: slotCount)
    }

    subscript(_ left: Int32, _ right: Int32) -> UInt64 { values[slot(of: Self.key(left, right))] }

    mutating func insert(_ left: Int32, _ right: Int32, _ value: UInt64) {
        if 2 * (count + 1) > keys.count { grow() }
        let key = Self.key(left, right)
        let slot = slot(of: key)
        if keys[slot] == Self.none { count += 1 }
        keys[slot] = key
        values[slot] = value
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// The slot of the key, or the one it would be put in.
    private func slot(of key: UInt64) -> Int {
        let mixed = key &* 0x9E37_79B9_7F4A_7C15
        var slot = Int(truncatingIfNeeded: mixed >> 32) & (keys.count - 1)
        while keys[slot] != key && keys[slot] != Self.none { slot = (slot + 1) & (keys.count - 1) }
        return slot
    }

    private mutating func grow() {
        var larger = PairTable(minimumCapacity: keys.count)
        for (key, value) in zip(keys, values) where key != Self.none {
            let slot = larger.slot(of: key)
            larger.keys[slot] = key
            larger.values[slot] = value
        }
        larger.count = count
        self = larger
    }
}
