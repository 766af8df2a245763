import CMath
import SeamPlugin

/// Rotary positions (Su et al. 2021): numbers i and i + pairs of each head are a pair, which turns by its position times
/// the pair's frequency. Numbers of a head that are of no pair stay as they are.
struct RotaryPositions {
    /// Longest sequence.
    let limit: Int
    let frequencies: [Float]
    /// Those of layers with a window; empty: `frequencies`.
    var localFrequencies: [Float] = []
    /// Factor on queries and keys, beside the turn.
    var scale: Float = 1
    /// Other frequencies for longer texts.
    var longer: Longer?

    enum Longer {
        /// For texts of more tokens than `length`.
        case other(frequencies: [Float], length: Int)
        /// The base grows with texts of more tokens than `length`.
        case growing(base: Float, factor: Float, length: Int)
    }

    /// The frequencies for a text.
    /// - Parameters:
    ///   - length: the tokens up to the last that is read now.
    ///   - end: the most that there will be.
    func frequencies(length: Int, end: Int) -> [Float] {
        switch longer {
        case .none: return frequencies
        case .other(let other, let most): return end > most ? other : frequencies
        case .growing(let base, let factor, let most):
            guard length > most else { return frequencies }
            let width = Float(2 * frequencies.count)
            let growth = factor * Float(length) / Float(most) - (factor - 1)
            return Self.frequencies(base: base * powf(growth, width / (width - 2)), count: frequencies.count)
        }
    }

    /// base^(-i / count)
    static func frequencies(base: Float, count: Int) -> [Float] {
        (0..<count).map { 1 / powf(base, Float(2 * $0) / Float(2 * count)) }
    }
}

/// The rotation of one pass: cosine and sine [batch or 1, positions, pairs].
struct Rotation {
    let cosine, sine: Tensor

    /// Queries or keys [batch, heads, positions, head_dim], rotated.
    func callAsFunction(_ x: Tensor) -> Tensor {
        let (all, rotated) = (x.size(3), 2 * cosine.size(2))
        guard rotated < all else { return x.rotary(cosine: cosine, sine: sine) }
        let first = x.slice(3, from: 0, length: rotated).rotary(cosine: cosine, sine: sine)
        return first.concat([x.slice(3, from: rotated, length: all - rotated)], axis: 3)
    }
}

/// Gives the angles of positions, position times frequency, as cosines and sines.
struct Rotary {
    private let positions: RotaryPositions

    /// Nil for a family that rotates nothing.
    init?(_ family: Family) {
        guard case .rotary(let positions) = family.positions else { return nil }
        self.positions = positions
    }

    /// - Parameters:
    ///   - angles: those of a decoding state, which grow with it.
    ///   - isLocal: for layers with a window.
    ///   - capacity: the tokens that a decoding state was made for. Frequencies for longer texts are taken from the start
    ///     where it may hold one, since its keys are rotated when they enter it.
    func callAsFunction(
        _ places: Places, _ angles: RotaryAngles, isLocal: Bool, capacity: Int? = nil, in context: Context
    ) -> Rotation {
        let end = places.start + places.count
        let isOwn = isLocal && !positions.localFrequencies.isEmpty
        let most = max(end, capacity.map { places.start - places.seen + $0 } ?? 0)
        let frequencies =
            isOwn ? positions.localFrequencies : positions.frequencies(length: end, end: most)
        let angles = isOwn ? angles.local : angles.common
        let width = frequencies.count
        angles.extend(to: end, frequencies, scale: isOwn ? 1 : positions.scale)
        // Positions that are given count tokens, so they lie below the number of all tokens.
        let rows = (places.given == nil ? places.start : 0)..<end
        func table(_ values: [Float]) -> Tensor {
            let values = Array(values[rows.lowerBound * width..<rows.upperBound * width])
            guard let given = places.given else { return context.constant(values, [1, rows.count, width]) }
            return context.constant(values, [rows.count, width]).embedding(given)
        }
        return Rotation(cosine: table(angles.cosines), sine: table(angles.sines))
    }
}

/// The angles that a decoding state, or one pass without a state, has asked for. They do not belong to the model, whose
/// passes may run at the same time.
final class RotaryAngles {
    fileprivate let common = Angles()
    fileprivate let local = Angles()
}

/// Cosines and sines of positions from 0 on, row by row.
private final class Angles {
    private(set) var cosines: [Float] = []
    private(set) var sines: [Float] = []
    private var frequencies: [Float] = []

    func extend(to count: Int, _ frequencies: [Float], scale: Float) {
        if frequencies != self.frequencies { (self.frequencies, cosines, sines) = (frequencies, [], []) }
        // In f32, as the models were trained.
        for position in cosines.count / frequencies.count..<max(count, cosines.count / frequencies.count) {
            for frequency in frequencies {
                let angle = Float(position) * frequency
                cosines.append(cosf(angle) * scale)
                sines.append(sinf(angle) * scale)
            }
        }
    }
}
