import Glibc

/// Triangular filters over the bins of a spectrum, evenly spaced on Slaney's mel scale and each of the area that its width
/// gives, as `mel_filter_bank` of transformers (`norm="slaney", mel_scale="slaney"`) and librosa have them.
package struct MelFilters: Sendable {
    /// A filter's bins and their weights; what is not in it is 0.
    package struct Filter: Sendable {
        /// The first bin with a weight.
        package let first: Int
        /// The weights of that bin and those behind it.
        package let weights: [Float]
    }

    /// The filters, the lowest first.
    package let filters: [Filter]

    /// - Parameters:
    ///   - count: the number of filters.
    ///   - bins: of the spectrum, from 0 Hz to half the sampling rate.
    ///   - highest: the frequency in Hz where the last filter ends; the first begins at 0.
    package init(count: Int, bins: Int, samplingRate: Int, highest: Double) {
        let top = Self.mel(highest)
        let edges = (0..<count + 2).map { Self.hertz(top * Double($0) / Double(count + 1)) }
        let step = Double(samplingRate / 2) / Double(bins - 1)
        filters = (0..<count).map { index in
            let (low, middle, high) = (edges[index], edges[index + 1], edges[index + 2])
            let weights = (0..<bins).map { bin in
                let frequency = Double(bin) * step
                let slope = min((frequency - low) / (middle - low), (high - frequency) / (high - middle))
                return Float(max(0, slope) * 2 / (high - low))
            }
            let first = weights.firstIndex { $0 > 0 } ?? 0
            let last = weights.lastIndex { $0 > 0 } ?? first
            return Filter(first: first, weights: Array(weights[first...last]))
        }
    }

    // Slaney's scale: linear up to 1,000 Hz, which is 15 mel, and logarithmic above, 27 mel for each factor of 6.4.
    private static let linearEnd = 1000.0
    private static let melsAtEnd = 15.0
    private static let logStep = log(6.4) / 27

    private static func mel(_ hertz: Double) -> Double {
        hertz < linearEnd ? 3 * hertz / 200 : melsAtEnd + log(hertz / linearEnd) / logStep
    }

    private static func hertz(_ mel: Double) -> Double {
        mel < melsAtEnd ? 200 * mel / 3 : linearEnd * exp(logStep * (mel - melsAtEnd))
    }
}
