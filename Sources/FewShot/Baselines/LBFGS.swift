import Support

/// Minimises a smooth convex function by L-BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 7.5).
///
/// Steps are accepted by Armijo's condition or, where the function's rounding hides its decrease, by the approximate
/// Wolfe condition (Hager and Zhang 2005, equation 4.1), which looks at the gradient only. That condition is why this is
/// no library's: docs/architecture.md compares it with liblbfgs.
struct LBFGS {
    var history = 10
    var maximumIterations: Int
    /// The relative rounding of the function's values.
    var valueRounding: Double

    struct Outcome {
        let iterations: Int
        /// The gradient at the end.
        let gradient: [Double]
    }

    private struct Point {
        var x: [Double]
        var gradient: [Double]
        var value: Double
    }

    /// Moves `x` to the minimum. `function` takes a point, writes the gradient and returns the value; `isDone` takes a
    /// point and its gradient.
    ///
    /// Ends when `isDone` says so, when no step makes progress (the function's rounding is reached), or after the
    /// greatest number of iterations; the caller judges by the gradient.
    func minimise(
        _ x: inout [Double], isDone: (_ x: [Double], _ gradient: [Double]) -> Bool,
        _ function: (_ x: [Double], _ gradient: inout [Double]) throws -> Double
    ) throws -> Outcome {
        func evaluate(_ x: [Double]) throws -> Point {
            var point = Point(x: x, gradient: [Double](repeating: 0, count: x.count), value: 0)
            point.value = try function(x, &point.gradient)
            return point
        }
        var current = try evaluate(x)
        var pairs: [(s: [Double], y: [Double], inverse: Double)] = []
        var iterations = 0
        while iterations < maximumIterations, !isDone(current.x, current.gradient) {
            iterations += 1
            let direction = self.direction(current.gradient, pairs)
            let first = pairs.isEmpty ? 1 / max(1, dot(current.gradient, current.gradient).squareRoot()) : 1
            guard let next = try step(from: current, along: direction, first: first, evaluate) else {
                if pairs.isEmpty { break }
                // The curvature seen so far may mislead: once more along the gradient.
                pairs = []
                continue
            }
            let s = zip(next.x, current.x).map { $0 - $1 }
            let y = zip(next.gradient, current.gradient).map { $0 - $1 }
            let curvature = dot(s, y)
            if curvature > 1e-16 * dot(y, y) {
                if pairs.count == history { pairs.removeFirst() }
                pairs.append((s, y, 1 / curvature))
            }
            current = next
        }
        x = current.x
        return Outcome(iterations: iterations, gradient: current.gradient)
    }

    private func direction(_ gradient: [Double], _ pairs: [(s: [Double], y: [Double], inverse: Double)]) -> [Double] {
        var result = gradient.map { -$0 }
        guard let last = pairs.last else { return result }
        var weights: [Double] = []
        for pair in pairs.reversed() {
            let weight = pair.inverse * dot(pair.s, result)
            add(-weight, pair.y, to: &result)
            weights.append(weight)
        }
        let scale = 1 / (last.inverse * dot(last.y, last.y))
        for place in result.indices { result[place] *= scale }
        for (pair, weight) in zip(pairs, weights.reversed()) {
            add(weight - pair.inverse * dot(pair.y, result), pair.s, to: &result)
        }
        return result
    }

    private func step(
        from current: Point, along direction: [Double], first: Double, _ evaluate: ([Double]) throws -> Point
    ) throws -> Point? {
        let slope = dot(current.gradient, direction)
        guard slope < 0 else { return nil }
        let armijo = 1e-4
        var length = first
        for _ in 0..<12 {
            let next = try evaluate(zip(current.x, direction).map { $0 + length * $1 })
            if next.value <= current.value + armijo * length * slope { return next }
            let nextSlope = dot(next.gradient, direction)
            let rounding = valueRounding * abs(current.value)
            if next.value <= current.value + rounding, abs(nextSlope) <= 0.9 * -slope { return next }
            // The minimum of the parabola through both values and the first slope, kept within bounds.
            let bend = next.value - current.value - slope * length
            let guess = bend > 0 ? -slope * length * length / (2 * bend) : length / 2
            length = min(max(guess, 0.1 * length), 0.5 * length)
        }
        return nil
    }

    private func dot(_ a: [Double], _ b: [Double]) -> Double {
        var sum = 0.0
        for place in a.indices { sum += a[place] * b[place] }
        return sum
    }

    private func add(_ factor: Double, _ x: [Double], to y: inout [Double]) {
        for place in y.indices { y[place] += factor * x[place] }
    }
}
