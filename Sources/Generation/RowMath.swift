import Glibc
import Support

/// Reductions over one row of logits. Eight lanes at a time, because a plain loop over floats may
/// not be reordered by the compiler and would cost as much as the decoder's output projection.
enum RowMath {
    typealias Lanes = SIMD8<Float>
    static let width = 8
    /// Elements whose exponentials are summed in Float before the sum moves to Double: few enough
    /// that the rounding stays near that of one addition.
    private static let block = 512

    /// The largest element of a row and its first index.
    ///
    /// - Throws: `SeamError` (`numeric`) if the row holds NaN or its largest element is infinite.
    static func largest(_ row: Span<Float>) throws -> (index: Int, value: Float) {
        var lanes = Lanes(repeating: -.infinity)
        var ordered = SIMDMask<Lanes.MaskStorage>(repeating: true)
        let vectorEnd = row.count - row.count % width
        for start in stride(from: 0, to: vectorEnd, by: width) {
            let values = load(row.extracting(start..<start + width))
            lanes.replace(with: values, where: values .> lanes)
            ordered = ordered .& (values .== values)
        }
        var value = lanes.max()
        var hasNaN = !all(ordered)
        for index in vectorEnd..<row.count {
            value = max(value, row[index])
            hasNaN = hasNaN || row[index].isNaN
        }
        guard !hasNaN, value != .infinity else {
            throw SeamError(.numeric, "logits of the decoder step: expected numbers, found NaN or infinity")
        }
        guard value != -.infinity else {
            throw SeamError(
                .numeric, "options or decoder forbid every token: expected a logit above minus infinity, found none")
        }
        var index = 0
        while row[index] != value { index += 1 }
        return (index, value)
    }

    /// `log(sum(exp(row - largest)))`; `largest` is the largest element.
    static func logSumExp(_ row: Span<Float>, largest: Float) -> Float {
        var sum = 0.0
        var start = 0
        let vectorEnd = row.count - row.count % width
        while start < vectorEnd {
            let end = min(start + block, vectorEnd)
            var lanes = Lanes()
            while start < end {
                lanes += exponential(load(row.extracting(start..<start + width)) - largest)
                start += width
            }
            for lane in 0..<width { sum += Double(lanes[lane]) }
        }
        for index in vectorEnd..<row.count { sum += Double(expf(row[index] - largest)) }
        return Float(log(sum))
    }

    /// Replaces a row of logits, at `range`, by `(logit - largest) - logSum`. Two subtractions, not one of the sum
    /// of both, because large logits would swallow the logarithm.
    static func subtract(_ largest: Float, _ logSum: Float, from logits: inout [Float], in range: Range<Int>) {
        for index in range { logits[index] = (logits[index] - largest) - logSum }
    }

    /// Eight neighbouring elements; the caller cuts the span, so that one bounds check serves all.
    @inline(__always)
    static func load(_ cut: Span<Float>) -> Lanes {
        Lanes(cut[0], cut[1], cut[2], cut[3], cut[4], cut[5], cut[6], cut[7])
    }

    /// `exp(x)` for x <= 0, with a relative error below 2e-7; 0 below -87, where Float has no normal
    /// number left.
    ///
    /// `exp(x) = 2^n exp(r)` with `n = round(x / log 2)` and `|r| <= log(2) / 2` (Cody and Waite,
    /// "Software Manual for the Elementary Functions" (1980), chapter 6), and the Taylor series of
    /// `exp(r)` to the seventh power.
    @inline(__always)
    static func exponential(_ x: Lanes) -> Lanes {
        // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
        let shifter = Lanes(repeating: 0x1.8p23)
        let clamped = x.replacing(with: -87, where: x .< -87)
        let shifted = clamped * 1.44269504 + shifter
        let n = shifted - shifter
        // log 2 = 0.693359375 - 2.12194440e-4: the first part has so few bits that its product is exact.
        let r = (clamped - n * 0.693359375) + n * 2.12194440e-4
        var series = Lanes(repeating: 1.0 / 5040)
        series = series * r + 1.0 / 720
        series = series * r + 1.0 / 120
        series = series * r + 1.0 / 24
        series = series * r + 1.0 / 6
        series = series * r + 0.5
        series = series * r + 1
        series = series * r + 1
        var power = Lanes()
        for lane in 0..<width {
            power[lane] = Float(bitPattern: (shifted[lane].bitPattern &<< 23) &+ 0x3F80_0000)
        }
        return (series * power).replacing(with: 0, where: x .< -87)
    }
}
