import Engine

/// The slope of `loss` along one number of a variable: central differences at h and 2h, extrapolated to h = 0
/// (Richardson), which leaves an error of h^4 times the fifth derivative.
public func slope(_ variable: Variable, _ index: Int, _ loss: () throws -> Double) throws -> Float {
    let start = variable.tensor.floats
    defer { variable.tensor.assign(start) }
    func difference(_ step: Float) throws -> Double {
        var moved = start
        moved[index] = start[index] + step
        variable.tensor.assign(moved)
        let above = try loss()
        moved[index] = start[index] - step
        variable.tensor.assign(moved)
        return (above - (try loss())) / Double(2 * step)
    }
    return Float((4 * (try difference(0.01)) - (try difference(0.02))) / 3)
}
