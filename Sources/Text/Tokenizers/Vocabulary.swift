/// Tokens and their ids, both unique. Tokens are compared as UTF-8 bytes: `String` takes "é" and
/// "e\u{301}" for equal, which would merge tokens.
struct Vocabulary: Sendable {
    private var text: [UInt8] = []
    private var entries: [(start: Int, end: Int, id: Int32)] = []
    /// Open addressing with linear probing: a slot holds the number of an entry, or -1.
    private var slots: [Int32]
    private var places: [Int32: Int] = [:]

    init(minimumCapacity: Int = 0) {
        var slotCount = 16
        while slotCount < 2 * minimumCapacity { slotCount *= 2 }
        slots = Array(repeating: -1, count: slotCount)
        places.reserveCapacity(minimumCapacity)
    }

    var count: Int { entries.count }

    enum Conflict { case token, id }

    /// Adds a token unless the token or its id is there already, which it returns.
    mutating func insert(_ token: String, id: Int32) -> Conflict? {
        if self.id(of: token) != nil { return .token }
        if places[id] != nil { return .id }
        let start = text.count
        text += token.utf8
        places[id] = entries.count
        entries.append((start, text.count, id))
        if 2 * entries.count > slots.count {
            slots = Array(repeating: -1, count: 2 * slots.count)
            for number in entries.indices { place(number) }
        } else {
            place(entries.count - 1)
        }
        return nil
    }

    func id(of token: String) -> Int32? {
        var token = token
        return token.withUTF8 { id(of: $0) }
    }

    func id(of token: UnsafeBufferPointer<UInt8>) -> Int32? {
        var slot = Int(truncatingIfNeeded: Self.hash(token)) & (slots.count - 1)
        while slots[slot] >= 0 {
            let entry = entries[Int(slots[slot])]
            if entry.end - entry.start == token.count && isEqual(entry.start, token) { return entry.id }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    func token(of id: Int32) -> String? {
        places[id].map { String(decoding: text[entries[$0].start..<entries[$0].end], as: UTF8.self) }
    }

    private func isEqual(_ start: Int, _ token: UnsafeBufferPointer<UInt8>) -> Bool {
        for offset in token.indices where text[start + offset] != token[offset] { return false }
        return true
    }

    private mutating func place(_ number: Int) {
        let entry = entries[number]
        let hash = text.withUnsafeBufferPointer { Self.hash(.init(rebasing: $0[entry.start..<entry.end])) }
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = Int32(number)
    }

    /// FNV-1a, with its upper bits brought down as only lower ones choose the slot.
    private static func hash(_ token: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in token { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return hash ^ hash >> 32
    }
}
