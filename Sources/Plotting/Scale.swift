import Glibc
import Support

/// Round numbers along an axis with their labels.
struct Ticks: Sendable {
    let values: [Double]
    let labels: [String]

    /// Round numbers in `low`...`high`, at most about `most` of them; only whole ones for `isWhole`.
    init(_ low: Double, _ high: Double, most: Int, isWhole: Bool = false) {
        let rough = max((high - low) / Double(max(most, 1)), isWhole ? 1 : 1e-300)
        let power = pow(10, floor(log10(rough)))
        // Some room against rounding: 0.2 / 0.1 may come out above 2.
        let steps = [10, 5, 2, 1, 0.5, 0.2].map { $0 * power }.filter { !isWhole || $0 >= 1 }
        let chosen = steps.lastIndex { $0 >= rough * (1 - 1e-9) } ?? 0
        // One or two numbers hardly make a scale: rather a few more than `most`.
        let step = steps[chosen...].first { Self.count(low, high, $0) > 2 } ?? steps[chosen]
        let first = ceil(low / step - 1e-9)
        values = (0..<Self.count(low, high, step)).map { (first + Double($0)) * step }
        labels = Self.labels(values, step: step)
    }

    /// These numbers, which are whole.
    init(_ values: [Double]) {
        self.values = values
        labels = values.map { fixed($0, 0) }
    }

    /// These words at 1, 2 and so on.
    init(_ names: [String]) {
        values = names.indices.map { Double($0 + 1) }
        labels = names
    }

    private static func count(_ low: Double, _ high: Double, _ step: Double) -> Int {
        Int(min(max(floor(high / step + 1e-9) - ceil(low / step - 1e-9) + 1, 0), 100))
    }

    /// As few decimals as tell the numbers apart; powers of ten where there would be many digits.
    private static func labels(_ values: [Double], step: Double) -> [String] {
        let largest = values.map(\.magnitude).max() ?? 0
        let place = Int(floor(log10(step * 1.0001)))
        guard largest >= 1e6 || (place < -5 && largest < 1e-3) else {
            return values.map { fixed($0, min(max(0, -place), 9)) }
        }
        let exponent = Int(floor(log10(max(largest, step) * 1.0001)))
        let decimals = min(max(0, exponent - place), 9)
        return values.map { value in
            value == 0 ? "0" : "\(fixed(value / pow(10, Double(exponent)), decimals))e\(exponent)"
        }
    }

    /// Widest label in pixels.
    var width: Double { labels.map { Words.width($0) }.max() ?? 0 }

    /// Ticks with labels below the plane, at `place` of each value. All get a mark; labels that would run into the one
    /// before are left out, and none reaches beyond `limit`, the side of the picture.
    func below(_ y: Double, limit: Double, place: (Double) -> Double) -> [String] {
        var parts: [String] = []
        var end = 0.0
        for (value, label) in zip(values, labels) {
            let x = place(value)
            parts.append(stroke(x, y, x, y + 5, "stroke=\"#999\""))
            let half = Words.width(label) / 2
            let middle = min(x, limit - half)
            guard middle - half > end else { continue }
            parts.append(Words.text(label, middle, y + 20, .middle))
            end = middle + half + 4
        }
        return parts
    }
}

/// The span of an axis around values: never empty, and not below zero for values that are not.
struct Span: Sendable, Equatable {
    let low, high: Double

    init(low: Double, high: Double) {
        self.low = low
        self.high = high
    }

    /// A margin of 5 % around values; 0...1 where there are none.
    init(around values: [Double]) {
        guard let bottom = values.min(), let top = values.max() else {
            self.init(low: 0, high: 1)
            return
        }
        // Equal values, or such that differ by rounding only, stand in the middle of a span of their own size.
        let size = max(bottom.magnitude, top.magnitude)
        let least = size < 1e-150 ? 1 : 1e-6 * size
        let margin = top - bottom > least ? 0.05 * (top - bottom) : size < 1e-150 ? 0.5 : 0.1 * size
        self.init(low: max(min(0, bottom), bottom - margin), high: top + margin)
    }
}

extension Double {
    /// Whether a value can be drawn: differences of such values stay finite.
    var isDrawable: Bool { magnitude < 1e150 }
}
