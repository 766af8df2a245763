import Kernels
import Support

extension Context {
    /// Rows and columns of x seen as a matrix over its last axis.
    private func rowsAndColumns(_ x: Tensor, _ operation: String) throws(SeamError) -> (rows: Int64, columns: Int64) {
        try requireF32(x, operation)
        guard x.rank > 0, x.shape[x.rank - 1] > 0 else {
            throw SeamError(.shape, "\(operation): the last axis of shape \(x.shape) is empty")
        }
        let columns = x.shape[x.rank - 1]
        return (Int64(x.elementCount / columns), Int64(columns))
    }

    private func affineParameter(_ parameter: Tensor?, _ columns: Int64, _ name: String)
        throws(SeamError) -> Tensor?
    {
        guard let parameter else { return nil }
        guard parameter.shape == [Int(columns)] else {
            throw SeamError(.shape, "\(name) must be [\(columns)], found \(parameter.shape)")
        }
        return try contiguous(try widened(parameter.detached))
    }

    /// exp(x) / sum exp(x) along an axis.
    public func softmax(_ x: Tensor, axis: Int) throws(SeamError) -> Tensor {
        try overRows(x, axis, "softmax", sk_softmax, sk_softmax_gradient)
    }

    /// x - log sum exp(x) along an axis.
    public func logSoftmax(_ x: Tensor, axis: Int) throws(SeamError) -> Tensor {
        try overRows(x, axis, "log_softmax", sk_log_softmax, sk_log_softmax_gradient)
    }

    private typealias RowKernel = (UnsafeMutablePointer<Float>, UnsafePointer<Float>, Int64, Int64) -> Void
    private typealias RowGradient = (
        UnsafeMutablePointer<Float>, UnsafePointer<Float>, UnsafePointer<Float>, Int64, Int64
    ) -> Void

    /// A function of each row along an axis, whose gradient needs the result but not x.
    private func overRows(
        _ x: Tensor, _ requested: Int, _ operation: String, _ kernel: RowKernel, _ gradientKernel: @escaping RowGradient
    ) throws(SeamError) -> Tensor {
        let axis = try axis(requested, of: x, operation)
        guard axis == x.rank - 1 else {
            // The kernels want the axis last: there and back are views.
            var axes = Shape(0..<x.rank)
            axes[axis] = x.rank - 1
            axes[x.rank - 1] = axis
            return try permute(
                try overRows(try permute(x, axes), -1, operation, kernel, gradientKernel), axes)
        }
        let (rows, columns) = try rowsAndColumns(x, operation)
        let values = try contiguous(x)
        let result = try makeResult(x.shape, from: x)
        kernel(result.f32, values.f32, rows, columns)
        let output = result.detached
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let target = try slot!.zeroedAccumulator(in: self)
            let upstream = try self.contiguous(gradient)
            gradientKernel(target.f32, upstream.f32, output.f32, rows, columns)
        }
        return result
    }

    /// (x - mean) / sqrt(var + epsilon) * weight + bias over the last axis (Ba et al. 2016).
    public func layerNorm(_ x: Tensor, weight: Tensor?, bias: Tensor?, epsilon: Double) throws(SeamError) -> Tensor {
        let (rows, columns) = try rowsAndColumns(x, "layer_norm")
        let scale = try affineParameter(weight, columns, "layer_norm: weight")
        let shift = try affineParameter(bias, columns, "layer_norm: bias")
        let input = try contiguous(x.detached)
        let result = try makeResult(x.shape, from: x, weight, bias)
        let mean = try makeTensor([Int(rows)])
        let deviation = try makeTensor([Int(rows)])
        sk_layer_norm(
            result.f32, mean.f32, deviation.f32, input.f32, scale?.f32, shift?.f32, Float(epsilon), rows, columns)
        let slots = (x: x.gradient, weight: weight?.gradient, bias: bias?.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let upstream = try self.contiguous(gradient)
            let dx = try slots.x?.zeroedAccumulator(in: self)
            let dweight = try slots.weight?.zeroedAccumulator(in: self)
            let dbias = try slots.bias?.zeroedAccumulator(in: self)
            guard
                sk_layer_norm_gradient(
                    dx?.f32, dweight?.f32, dbias?.f32, upstream.f32, input.f32, mean.f32, deviation.f32, scale?.f32,
                    rows,
                    columns)
            else { throw SeamError(.outOfMemory, "out of memory for the gradient of layer_norm") }
        }
        return result
    }

    /// x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang and Sennrich 2019).
    public func rmsNorm(_ x: Tensor, weight: Tensor?, epsilon: Double) throws(SeamError) -> Tensor {
        let (rows, columns) = try rowsAndColumns(x, "rms_norm")
        let scale = try affineParameter(weight, columns, "rms_norm: weight")
        let input = try contiguous(x.detached)
        let result = try makeResult(x.shape, from: x, weight)
        let deviation = try makeTensor([Int(rows)])
        sk_rms_norm(result.f32, deviation.f32, input.f32, scale?.f32, Float(epsilon), rows, columns)
        let slots = (x: x.gradient, weight: weight?.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let upstream = try self.contiguous(gradient)
            let dx = try slots.x?.zeroedAccumulator(in: self)
            let dweight = try slots.weight?.zeroedAccumulator(in: self)
            guard
                sk_rms_norm_gradient(
                    dx?.f32, dweight?.f32, upstream.f32, input.f32, deviation.f32, scale?.f32, rows, columns)
            else { throw SeamError(.outOfMemory, "out of memory for the gradient of rms_norm") }
        }
        return result
    }

    /// x / max(||x||, epsilon) over the last axis.
    public func l2Normalize(_ x: Tensor, epsilon: Double) throws(SeamError) -> Tensor {
        let (rows, columns) = try rowsAndColumns(x, "l2_normalize")
        let input = try contiguous(x.detached)
        let result = try makeResult(x.shape, from: x)
        let norm = try makeTensor([Int(rows)])
        sk_l2_normalize(result.f32, norm.f32, input.f32, Float(epsilon), rows, columns)
        let output = result.detached
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let target = try slot!.zeroedAccumulator(in: self)
            let upstream = try self.contiguous(gradient)
            sk_l2_normalize_gradient(
                target.f32, upstream.f32, output.f32, norm.f32, Float(epsilon), rows, columns)
        }
        return result
    }
}
