import Engine
import Glibc
import SeamHost

/// Prefixes of random numbers on all attentions of an encoder-decoder, which flow into the seams of prefixes layer by
/// layer.
public struct GivenPrefixes {
    /// [layers, 2, kv heads, tokens, head_dim], by attention.
    public let shapes: [Shape]
    public let values: [[Float]]

    /// `tokens`: of each attention's prefix, in the order of `PrefixAttention`.
    public init(_ info: BackboneInfo, tokens: [Int] = [2, 3, 1], seed: UInt64 = 1) {
        shapes = zip(info.prefixLayers, tokens).map { [$0, 2, info.kvHeads, $1, info.headDim] }
        var random = SeededGenerator(seed: seed, stream: "prefixes")
        values = shapes.map { shape in (0..<shape.reduce(1, *)).map { _ in Float(random.normal()) } }
    }

    /// What an adapter makes of them, by attention, when it adds so many tokens to each.
    public func through(_ adapter: Adapter, _ session: Session, adding: [Int] = [0, 0, 0]) throws -> [[Float]] {
        let context = session.makeContext(recordsGradients: false)
        var (inputs, expected) = ([Tensor](), [Shape]())
        for (attention, shape) in shapes.enumerated() {
            let size = values[attention].count / shape[0]
            for layer in 0..<shape[0] {
                let own = Array(values[attention][layer * size..<(layer + 1) * size])
                inputs.append(try context.constant(own, [2, shape[2], shape[3], shape[4]]))
                expected.append([2, shape[2], shape[3] + adding[attention], shape[4]])
            }
        }
        var outputs = try adapter.forward(context, inputs: inputs, expected: expected, training: false)[...]
        return try shapes.map { shape in
            defer { outputs.removeFirst(shape[0]) }
            return try outputs.prefix(shape[0]).flatMap { try context.contiguous($0).floats }
        }
    }

    /// The given numbers of an attention with those of `own` tokens behind them.
    public func followed(by own: [Float], _ attention: PrefixAttention) -> [Float] {
        let (shape, given) = (shapes[attention.rawValue], values[attention.rawValue])
        let rows = shape[0] * 2 * shape[2]
        func row(_ values: [Float], _ index: Int) -> ArraySlice<Float> {
            values[index * values.count / rows..<(index + 1) * values.count / rows]
        }
        return (0..<rows).flatMap { row(given, $0) + row(own, $0) }
    }
}

/// What the network of the prefix plugins gives an attention, [layers, 2, kv heads, tokens, head_dim], from its formula
/// in f64, one number at a time:
///
///     P = W2 (tanh(W1 N(e) + b1) + e) + b2 + e
///
/// where each "+ e" is there if asked for, and N, a LayerNorm, if the adapter has parameters of one.
public func networkPrefix(
    _ adapter: Adapter, _ attention: PrefixAttention, aroundHidden: Bool = false, aroundOutput: Bool = false
) -> [Float] {
    func values(_ name: String) -> [Double]? {
        adapter.parameters["\(attention).\(name)"]?.floats.map(Double.init)
    }
    func linear(_ x: [Double], _ name: String) -> [Double] {
        let (weight, bias) = (values(name + ".weight")!, values(name + ".bias")!)
        return bias.indices.map { row in
            x.indices.map { weight[row * x.count + $0] * x[$0] }.reduce(bias[row], +)
        }
    }
    func normalised(_ x: [Double]) -> [Double] {
        guard let gain = values("norm.weight"), let bias = values("norm.bias") else { return x }
        let mean = x.reduce(0, +) / Double(x.count)
        let variance = x.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(x.count)
        return x.indices.map { gain[$0] * (x[$0] - mean) / (variance + 1e-5).squareRoot() + bias[$0] }
    }
    let (layers, heads) = (adapter.site.prefixLayers[attention.rawValue], adapter.site.kvHeads)
    let width = adapter.site.headDim
    let embedding = values("embedding.weight")!
    let tokens = embedding.count / (heads * width)
    var result = [Float](repeating: 0, count: layers * 2 * heads * tokens * width)
    for token in 0..<tokens {
        let e = Array(embedding[token * heads * width..<(token + 1) * heads * width])
        var hidden = linear(normalised(e), "transform.0").map(tanh)
        if aroundHidden { for index in e.indices { hidden[index] += e[index] } }
        let output = linear(hidden, "transform.2")
        for layer in 0..<layers {
            for part in 0..<2 {
                for head in 0..<heads {
                    for index in 0..<width {
                        let own = head * width + index
                        let number = output[(layer * 2 + part) * heads * width + own] + (aroundOutput ? e[own] : 0)
                        result[(((layer * 2 + part) * heads + head) * tokens + token) * width + index] = Float(number)
                    }
                }
            }
        }
    }
    return result
}

/// Overwrites all parameters with normal numbers, gains around 1.
public func randomise(_ adapter: Adapter, deviation: Double = 0.3, seed: UInt64 = 1) {
    for (index, entry) in adapter.parameters.entries.enumerated() {
        let mean = entry.name.hasSuffix("norm.weight") ? 1.0 : 0
        randomise(entry.tensor, mean: mean, deviation: deviation, seed: seed &* 100 + UInt64(index))
    }
}
