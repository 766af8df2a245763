import Generation
import Support

/// The language model of Fixtures/make_fixtures.py: logits from an integer hash of the item and of
/// all tokens so far, so that any mistake in the order of rows changes every later logit.
final class HashModel: DecoderStepper {
    let vocabularySize: Int
    let scale: Float
    let bonus: Float
    let bonusToken: Int
    /// Hash state of each row.
    private(set) var states: [UInt32]
    private(set) var stepRows: [Int] = []

    init(batch: Int, vocabulary: Int, scale: Float = 8, bonus: Float = 0, bonusToken: Int = 1) {
        vocabularySize = vocabulary
        self.scale = scale
        self.bonus = bonus
        self.bonusToken = bonusToken
        states = (0..<batch).map { Self.mix(UInt32($0 + 1)) }
    }

    static func mix(_ value: UInt32) -> UInt32 {
        var x = value
        x ^= x >> 16
        x = x &* 0x85EB_CA6B
        x ^= x >> 13
        x = x &* 0xC2B2_AE35
        return x ^ x >> 16
    }

    func logit(state: UInt32, token: Int) -> Float {
        let unit = Float(Self.mix(state ^ UInt32(token) &* 0x27D4_EB2F) >> 8) / 16_777_216
        let logit = unit * unit * scale
        return token == bonusToken ? logit + bonus : logit
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        guard tokens.count == states.count else {
            throw SeamError(.internal, "tokens: expected \(states.count), found \(tokens.count)")
        }
        stepRows.append(tokens.count)
        for (row, token) in tokens.enumerated() {
            states[row] = Self.mix(states[row] ^ (UInt32(bitPattern: token) &+ 0x9E37_79B9))
            for token in 0..<vocabularySize {
                logits[row * vocabularySize + token] = logit(state: states[row], token: token)
            }
        }
    }

    func reorder(rows: [Int32]) throws {
        states = rows.map { states[Int($0)] }
    }
}
