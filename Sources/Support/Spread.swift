/// A figure that was measured several times, once a seed.
public struct Spread: Sendable, Equatable {
    /// The mean of the values.
    public let mean: Double
    /// The standard deviation of the sample, divided by n - 1; nil for a single value.
    public let deviation: Double?
    /// How many values there were.
    public let count: Int

    /// Throws `SeamError(.invalidArgument)` without values, `.numeric` for one that is not finite.
    public init(_ values: [Double]) throws {
        guard !values.isEmpty else {
            throw SeamError(.invalidArgument, "argument values: expected 1 or more, found none")
        }
        guard values.allSatisfy(\.isFinite) else {
            throw SeamError(.numeric, "argument values: expected finite numbers, found \(values)")
        }
        let mean = values.reduce(0, +) / Double(values.count)
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        self.mean = mean
        deviation = values.count == 1 ? nil : (squares / Double(values.count - 1)).squareRoot()
        count = values.count
    }
}
