import CSeam
import Engine
import Support

/// What checks need to know of a tensor, whichever engine holds it.
protocol Measured {
    var shape: Shape { get }
    var dtype: DType { get }
}

extension Tensor: Measured {}

// What an adapter gives, checked: on the native engine and on one of the caller's.
extension Adapter {
    /// The one output of a seam that gives one.
    /// - Parameters:
    ///   - point: among the adapter's own; nil where the seam has none.
    ///   - shape: what the output must be of.
    /// - Throws: `.plugin` for NULL and for another shape or dtype.
    func checkedOutput<Value: Measured>(_ output: Value?, as shape: Shape, at point: Int? = nil) throws -> Value {
        let place = point.map { "at the point \"\(points[$0].path)\"" }
        guard let output else {
            throw SeamError(
                .plugin, "adapter \"\(factory.id)\" returned NULL \(place ?? "for output 0")", origin: origin)
        }
        guard output.shape == shape, output.dtype == .f32 else {
            let wanted = place.map { "f32 \(shape) \($0)" } ?? "output 0 as f32 \(shape)"
            throw SeamError(
                .plugin,
                "adapter \"\(factory.id)\" must return \(wanted), found \(output.dtype.name) \(output.shape)",
                origin: origin)
        }
        return output
    }

    /// Checks what is put before embedded tokens, and what goes on in their place.
    /// - Parameters:
    ///   - vectors: [1 or batch, prompt, d_model]; nil for none.
    ///   - changed: of the shape of x; nil: x itself goes on.
    ///   - x: of the embedded tokens, [batch, n, d_model].
    /// - Throws: `.plugin` for other shapes or dtypes.
    func checkPrompt(_ vectors: (some Measured)?, _ changed: (some Measured)?, x: Shape, at point: Int) throws {
        func check(_ what: String, _ fits: Bool, _ expected: String, _ found: some Measured) throws {
            guard fits, found.dtype == .f32 else {
                throw SeamError(
                    .plugin,
                    "adapter \"\(factory.id)\" must return \(what) at the point \"\(points[point].path)\" as f32 \(expected), found \(found.dtype.name) \(found.shape)",
                    origin: origin)
            }
        }
        let (batch, width) = (x[0], x[2])
        if let vectors {
            let shape = vectors.shape
            let fits = shape.count == 3 && (shape[0] == 1 || shape[0] == batch) && shape[1] > 0 && shape[2] == width
            try check("the vectors", fits, "[1 or \(batch), prompt, \(width)]", vectors)
        }
        if let changed { try check("x", changed.shape == x, "\(x)", changed) }
    }
}
