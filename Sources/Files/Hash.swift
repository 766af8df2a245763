/// A 64-bit hash of content that stays the same across runs, machines and versions: XXH64, seed 0.
///
/// For cache keys and for telling base models apart, where Swift's `Hasher` will not do as it changes
/// with every run. It is not cryptographic: the question is whether a file changed by accident, not
/// whether somebody forged it, and a cryptographic hash would take several times as long over gigabytes
/// of weights.
///
/// A value type: a copy goes on by itself.
public struct ContentHash: Sendable {
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    private var lanes = SIMD4<UInt64>(prime1 &+ prime2, prime2, 0, 0 &- prime1)
    private var pending = [UInt8]()
    private var total: UInt64 = 0

    /// A hash to which nothing was added yet.
    public init() { pending.reserveCapacity(32) }

    /// The hash of one piece of memory.
    public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = ContentHash()
        hash.update(bytes)
        return hash.value
    }

    /// The hash of a text's UTF-8 bytes.
    public static func of(_ text: String) -> UInt64 {
        var text = text
        return text.withUTF8 { of(UnsafeRawBufferPointer($0)) }
    }

    /// The hash of a whole file's bytes; throws as `FileSystem.readBytes` does.
    public static func ofFile(_ path: String) throws -> UInt64 {
        try FileSystem.readBytes(path).withUnsafeBytes { of($0) }
    }

    /// Adds bytes. Pieces are not told apart: adding "ab" equals adding "a", then "b".
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        total &+= UInt64(bytes.count)
        var rest = bytes[...]
        if !pending.isEmpty {
            let fill = rest.prefix(32 - pending.count)
            pending.append(contentsOf: fill)
            rest = rest.dropFirst(fill.count)
            guard pending.count == 32 else { return }
            pending.withUnsafeBytes { Self.mix(&lanes, $0) }
            pending.removeAll(keepingCapacity: true)
        }
        let blocks = UnsafeRawBufferPointer(rebasing: rest.prefix(rest.count & ~31))
        Self.mix(&lanes, blocks)
        pending.append(contentsOf: rest.dropFirst(blocks.count))
    }

    /// Adds a text together with its length, so that ("ab", "c") and ("a", "bc") differ.
    public mutating func update(_ text: String) {
        var text = text
        text.withUTF8 {
            update($0.count)
            update(UnsafeRawBufferPointer($0))
        }
    }

    /// Adds an integer as 8 bytes.
    public mutating func update(_ number: Int) {
        withUnsafeBytes(of: Int64(number).littleEndian) { update($0) }
    }

    /// The hash of all that was added so far.
    public var value: UInt64 {
        var hash: UInt64
        if total >= 32 {
            hash = Self.rotated(lanes[0], 1) &+ Self.rotated(lanes[1], 7)
                &+ Self.rotated(lanes[2], 12) &+ Self.rotated(lanes[3], 18)
            for lane in 0..<4 {
                hash = (hash ^ Self.round(0, lanes[lane])) &* Self.prime1 &+ Self.prime4
            }
        } else {
            hash = Self.prime5
        }
        hash &+= total
        pending.withUnsafeBytes { hash = Self.finish(hash, $0) }
        hash = (hash ^ hash >> 33) &* Self.prime2
        hash = (hash ^ hash >> 29) &* Self.prime3
        return hash ^ hash >> 32
    }

    /// `value` as 16 hexadecimal digits, as it goes into file names and adapter configurations.
    public var hex: String { Self.hex(value) }

    /// A hash as 16 hexadecimal digits.
    public static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private static func mix(_ lanes: inout SIMD4<UInt64>, _ blocks: UnsafeRawBufferPointer) {
        var (a, b, c, d) = (lanes[0], lanes[1], lanes[2], lanes[3])
        for offset in stride(from: 0, to: blocks.count, by: 32) {
            a = round(a, word(blocks, offset))
            b = round(b, word(blocks, offset + 8))
            c = round(c, word(blocks, offset + 16))
            d = round(d, word(blocks, offset + 24))
        }
        lanes = SIMD4(a, b, c, d)
    }

    private static func finish(_ hash: UInt64, _ tail: UnsafeRawBufferPointer) -> UInt64 {
        var hash = hash
        var offset = 0
        while offset + 8 <= tail.count {
            hash = rotated(hash ^ round(0, word(tail, offset)), 27) &* prime1 &+ prime4
            offset += 8
        }
        if offset + 4 <= tail.count {
            let half = UInt32(littleEndian: tail.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
            hash = rotated(hash ^ UInt64(half) &* prime1, 23) &* prime2 &+ prime3
            offset += 4
        }
        for byte in tail[offset...] {
            hash = rotated(hash ^ UInt64(byte) &* prime5, 11) &* prime1
        }
        return hash
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    private static func round(_ lane: UInt64, _ word: UInt64) -> UInt64 {
        rotated(lane &+ word &* prime2, 31) &* prime1
    }

    private static func rotated(_ value: UInt64, _ count: UInt64) -> UInt64 {
        value << count | value >> (64 - count)
    }
}
