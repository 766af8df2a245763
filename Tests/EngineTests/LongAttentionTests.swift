import Engine
import Support
import TestSupport
import Testing

/// Attention over texts so long that its scores are computed block by block, against products and a softmax over all of
/// them at once.
@Suite struct LongAttentionTests {
    private static let (batch, heads, groups, length, width, prefix) = (3, 2, 1, 1700, 4, 5)
    private static let routes: [Int32] = [0, 1, 1]

    /// Leaves of one pass, the same in each.
    private struct Leaves {
        let query, key, value, prefix, bias, prefixBias: Tensor

        var all: [Tensor] { [query, key, value, prefix, bias, prefixBias] }

        init(_ context: Context) throws {
            func random(_ shape: Shape, _ stream: String) throws -> Tensor {
                var generator = SeededGenerator(seed: 7, stream: stream)
                return try context.constant(
                    (0..<shape.elementCount).map { _ in Float(generator.normal()) }, shape
                ).asLeaf
            }
            query = try random([batch, heads, length, width], "q")
            key = try random([batch, groups, length, width], "k")
            value = try random([batch, groups, length, width], "v")
            prefix = try random([2, groups, LongAttentionTests.prefix, width], "p")
            bias = try random([1, heads, length, length], "b")
            prefixBias = try random([1, heads, 1, LongAttentionTests.prefix], "pb")
        }
    }

    /// [batch, keys]: the last row has padding behind its text.
    private static let mask: [Int32] = (0..<batch * length).map {
        $0 / length == batch - 1 && $0 % length > length - 100 ? 0 : 1
    }

    /// The values that the gradient starts from.
    private func loss(_ y: Tensor, _ context: Context) throws -> Tensor {
        var generator = SeededGenerator(seed: 9, stream: "loss")
        let weights = try context.constant((0..<y.elementCount).map { _ in Float(generator.normal()) }, y.shape)
        let sum = try context.reshape(try context.mul(y, weights), [y.elementCount])
        return try context.sum(sum, axis: 0, keep: false)
    }

    private func reference(_ leaves: Leaves, causal: Bool, _ context: Context) throws -> Tensor {
        let (length, prefix, mask) = (Self.length, Self.prefix, Self.mask)
        var parts: [Tensor] = []
        for row in 0..<Self.batch {
            func own(_ x: Tensor) throws -> Tensor { try context.slice(x, axis: 0, start: row, length: 1) }
            var (keys, values) = (try own(leaves.key), try own(leaves.value))
            var bias = leaves.bias
            let hasPrefix = Self.routes[row] == 1
            if hasPrefix {
                keys = try context.concat(
                    [try context.slice(leaves.prefix, axis: 0, start: 0, length: 1), keys], axis: 2)
                values = try context.concat(
                    [try context.slice(leaves.prefix, axis: 0, start: 1, length: 1), values], axis: 2)
                let before = try context.expand(leaves.prefixBias, to: [1, Self.heads, length, prefix])
                bias = try context.concat([before, bias], axis: 3)
            }
            let first = hasPrefix ? prefix : 0
            let hidden: [Float] = (0..<length * (first + length)).map { index in
                let (query, key) = (index / (first + length), index % (first + length) - first)
                let isSeen = key < 0 || (!causal || key <= query) && mask[row * length + key] == 1
                return isSeen ? 0 : -1e9
            }
            let scores = try context.affine(
                try context.matmul(try own(leaves.query), keys, transposeB: true), scale: 0.5, shift: 0)
            let seen = try context.add(
                try context.add(scores, bias), try context.constant(hidden, [1, 1, length, first + length]))
            parts.append(try context.matmul(try context.softmax(seen, axis: 3), values))
        }
        return try context.concat(parts, axis: 0)
    }

    /// f32 sums over some 1,700 keys, in another order: 1e-5 of the largest value.
    @Test(arguments: [false, true]) func blocksGiveWhatTheWholeGives(causal: Bool) throws {
        let scores = Self.batch * Self.heads * Self.length * Self.length
        #expect(scores > 1 << 24, "the text must be too long for its scores to be kept")
        let pool = MemoryPool()
        var results: [[Float]] = []
        for isReference in [true, false] {
            let context = Context(pool: pool, recordsGradients: true)
            let leaves = try Leaves(context)
            let y: Tensor
            if isReference {
                y = try reference(leaves, causal: causal, context)
            } else {
                y = try context.attentionWithPrefix(
                    query: leaves.query, key: leaves.key, value: leaves.value,
                    prefix: AttentionPrefix(
                        keysValues: [nil, leaves.prefix], rows: Self.routes, biases: [nil, leaves.prefixBias]),
                    bias: leaves.bias, mask: try context.constant(Self.mask, [Self.batch, Self.length]), scale: 0.5,
                    causal: causal)
            }
            results.append(try context.contiguous(y).floats)
            try context.backward(try loss(y, context))
            for leaf in leaves.all { results.append(try context.contiguous(try #require(leaf.gradient?.value)).floats) }
        }
        let names = ["values", "query", "key", "value", "prefix", "bias", "prefix bias"]
        for (index, name) in names.enumerated() {
            let (expected, found) = (results[index], results[names.count + index])
            let largest = expected.reduce(0) { max($0, abs($1)) }
            #expect(distance(expected, found) < 1e-5 * largest, "\(name)")
        }
    }
}
