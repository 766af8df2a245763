import Support

extension Context {
    /// Zeros with probability `p`, and x / (1 - p) else, where the pass is one of training; x itself elsewhere, and for a
    /// `p` of 0. The gradient takes the same elements.
    /// - Throws: `.invalidArgument` for a `p` that is not 0 ... 1, `.shape` for an x that is not f32.
    public func dropout(_ x: Tensor, p: Double) throws(SeamError) -> Tensor {
        guard p >= 0, p <= 1 else { throw SeamError(.invalidArgument, "dropout: p must be 0 ... 1, found \(p)") }
        try requireF32(x, "dropout")
        guard isTraining, p > 0 else { return x }
        let mask = try makeTensor(x.shape)
        let (kept, elements) = (p < 1 ? Float(1 / (1 - p)) : 0, mask.f32)
        var generator = random
        for index in 0..<x.elementCount { elements[index] = generator.uniform() < p ? 0 : kept }
        random = generator
        return try mul(x, mask)
    }
}
