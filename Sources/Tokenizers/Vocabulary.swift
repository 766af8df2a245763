/// Tokens and their ids, both unique. Tokens are compared as UTF-8 bytes: `String` takes "é" and
/// "e\u{301}" for equal, which would merge tokens.
package struct Vocabulary: Sendable {
    private var text: [UInt8] = []
    private var entries: [(start: Int, end: Int, id: Int32)] = []
    /// Open addressing with linear probing: a slot holds the number of an entry, or -1.
    private var slots: [Int32]
    private var places: [Int32: Int] = [:]
    /// The number of bytes of the longest token.
    private var longest = 0

    /// An empty vocabulary.
    package init(minimumCapacity: Int = 0) {
        var slotCount = 16
        while slotCount < 2 * minimumCapacity { slotCount *= 2 }
        slots = Array(repeating: -1, count: slotCount)
        places.reserveCapacity(minimumCapacity)
    }

    var count: Int { entries.count }
    /// -1 without tokens.
    private(set) var highestID = -1

    /// What a vocabulary has already.
    package enum Conflict { case token, id }

    /// Adds a token unless the token or its id is there already, which it returns.
    package mutating func insert(_ token: String, id: Int32) -> Conflict? {
        if self.id(of: token) != nil { return .token }
        if places[id] != nil { return .id }
        let start = text.count
        text += token.utf8
        longest = max(longest, text.count - start)
        places[id] = entries.count
        highestID = max(highestID, Int(id))
        entries.append((start, text.count, id))
        if 2 * entries.count > slots.count {
            slots = Array(repeating: -1, count: 2 * slots.count)
            for number in entries.indices { place(number) }
        } else {
            place(entries.count - 1)
        }
        return nil
    }

    /// The id of a token, or nil.
    package func id(of token: String) -> Int32? {
        let bytes = Array(token.utf8)
        return id(of: bytes, bytes.indices)
    }

    /// The id of the token that `text[range]` spells.
    func id(of text: [UInt8], _ range: Range<Int>) -> Int32? {
        var hash = TokenHash()
        for position in range { hash.combine(text[position]) }
        return id(of: text, range, hash)
    }

    /// The longest token that `text[range]` starts with, and where it ends. `hashes` is memory to be used again.
    func longestPrefix(of text: [UInt8], _ range: Range<Int>, _ hashes: inout [TokenHash]) -> (id: Int32, end: Int)? {
        hashes.removeAll(keepingCapacity: true)
        var hash = TokenHash()
        for position in range.prefix(longest) {
            hash.combine(text[position])
            hashes.append(hash)
        }
        for length in stride(from: hashes.count, to: 0, by: -1) {
            let end = range.lowerBound + length
            if let id = id(of: text, range.lowerBound..<end, hashes[length - 1]) { return (id, end) }
        }
        return nil
    }

    /// Calls `body` with each token that `text` starts with, from short to long: its id and where it ends.
    func forEachPrefix(of text: [UInt8], _ body: (_ id: Int32, _ end: Int) -> Void) {
        var hash = TokenHash()
        for position in text.indices.prefix(longest) {
            hash.combine(text[position])
            if let id = id(of: text, 0..<position + 1, hash) { body(id, position + 1) }
        }
    }

    /// The token of an id, or nil.
    package func token(of id: Int32) -> String? {
        places[id].map { String(decoding: text[entries[$0].start..<entries[$0].end], as: UTF8.self) }
    }

    /// Calls `body` with each token and its id, in the order of insertion.
    func forEach(_ body: (_ token: ArraySlice<UInt8>, _ id: Int32) -> Void) {
        for entry in entries { body(text[entry.start..<entry.end], entry.id) }
    }

    private func id(of other: [UInt8], _ range: Range<Int>, _ hash: TokenHash) -> Int32? {
        var slot = hash.slot(of: slots.count)
        while slots[slot] >= 0 {
            let entry = entries[Int(slots[slot])]
            if entry.end - entry.start == range.count && isEqual(entry.start, other, range) { return entry.id }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    private func isEqual(_ start: Int, _ other: [UInt8], _ range: Range<Int>) -> Bool {
        for offset in 0..<range.count where text[start + offset] != other[range.lowerBound + offset] { return false }
        return true
    }

    private mutating func place(_ number: Int) {
        let entry = entries[number]
        var hash = TokenHash()
        for position in entry.start..<entry.end { hash.combine(text[position]) }
        var slot = hash.slot(of: slots.count)
        while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = Int32(number)
    }
}

/// FNV-1a: what was combined so far is the hash of a prefix.
struct TokenHash {
    private var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func combine(_ byte: UInt8) { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }

    /// `count` is a power of two. The upper bits are brought down as only lower ones choose the slot.
    func slot(of count: Int) -> Int { Int(truncatingIfNeeded: value ^ value >> 32) & (count - 1) }
}
