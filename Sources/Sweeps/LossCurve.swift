/// The training loss of a run with the running mean that runs are compared by.
public struct LossCurve: Sendable {
    /// The loss of each step, from the first.
    public let losses: [Double]
    /// Steps in a mean: a tenth of all, at least one.
    public let window: Int
    /// The mean of the last `window` losses.
    public let last: Double

    /// Nil without losses.
    public init?(_ losses: [Double]) {
        guard !losses.isEmpty else { return nil }
        self.losses = losses
        window = max(1, losses.count / 10)
        last = losses.suffix(window).reduce(0, +) / Double(window)
    }

    /// At each step the mean of the `window` losses up to it; before there are so many, of those there are.
    public var means: [Double] {
        losses.indices.map { index in
            let part = losses[max(0, index + 1 - window)...index]
            return part.reduce(0, +) / Double(part.count)
        }
    }

    /// The first step, from 1, whose full window has a mean of `loss` or less; nil if there is none.
    public func stepReaching(_ loss: Double) -> Int? {
        let means = self.means
        return means.indices.first { $0 + 1 >= window && means[$0] <= loss }.map { $0 + 1 }
    }
}
