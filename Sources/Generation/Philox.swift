/// The counter-based generator Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as
/// 1, 2, 3" (2011), section 4.
///
/// Each draw is a pure function of the seed and a counter, so the numbers of one sequence do not
/// depend on which other sequences are still running.
public struct Philox: Sendable {
    private let key0: UInt32
    private let key1: UInt32

    /// A generator whose key is the seed, low word first.
    public init(seed: UInt64) {
        key0 = UInt32(truncatingIfNeeded: seed)
        key1 = UInt32(truncatingIfNeeded: seed >> 32)
    }

    /// The block of four random words at a counter. Pure; safe from any thread.
    public func block(_ counter: SIMD4<UInt32>) -> SIMD4<UInt32> {
        var word = counter
        var low = key0
        var high = key1
        for _ in 0..<10 {
            let first = word[0].multipliedFullWidth(by: 0xD251_1F53)
            let second = word[2].multipliedFullWidth(by: 0xCD9E_8D57)
            word = SIMD4(
                second.high ^ word[1] ^ low, second.low, first.high ^ word[3] ^ high, first.low)
            low &+= 0x9E37_79B9
            high &+= 0xBB67_AE85
        }
        return word
    }

    /// A number in `0..<1` with 53 random bits: words 0 and 1 of the block at counter
    /// `(step, sequence, 0, 0)`, the first as the high word. Pure; safe from any thread.
    public func uniform(sequence: Int, step: Int) -> Double {
        let word = block(SIMD4(UInt32(truncatingIfNeeded: step), UInt32(truncatingIfNeeded: sequence), 0, 0))
        let bits = (UInt64(word[0]) << 32 | UInt64(word[1])) >> 11
        return Double(bits) * 0x1p-53
    }
}
