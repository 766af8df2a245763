import Engine
import Support
import TestSupport
import Testing

/// Attention over a prefix and the tokens' own keys against attention over the two put behind each other.
@Suite struct PrefixAttentionTests {
    /// Sums of at most some dozen products of numbers near 1, in another order.
    private static let tolerance: Float = 1e-5

    private let pool = MemoryPool()
    private let batch = 5, heads = 4, groups = 2, keys = 4, width = 8
    /// Of each route; 0: its rows have none.
    private let lengths = [3, 0, 5]
    /// Rows of a route stand together once and apart once.
    private let rows: [Int32] = [2, 0, 0, 1, 2]

    /// What an attention is given.
    struct Case: Sendable, CustomTestStringConvertible {
        var queries = 3
        var causal = false, masked = false, biased = false, ownBias = false
        var rows = true
        var testDescription: String {
            "queries \(queries), causal \(causal), masked \(masked), biased \(biased) \(ownBias), rows \(rows)"
        }
    }

    static let cases: [Case] = [
        Case(), Case(queries: 1), Case(causal: true), Case(masked: true), Case(biased: true),
        Case(biased: true, ownBias: true), Case(causal: true, masked: true, biased: true, ownBias: true),
        Case(queries: 1, causal: true, masked: true, biased: true), Case(rows: false), Case(queries: 1, rows: false),
        Case(causal: true, masked: true, biased: true, ownBias: true, rows: false),
    ]

    /// The operands, as leaves of the gradient.
    private struct Operands {
        let query, key, value: Tensor
        let prefixes: [Tensor?]
        let bias: Tensor?
        let biases: [Tensor?]
        let mask: Tensor?
        var leaves: [Tensor] { [query, key, value] + (prefixes + biases + [bias]).compactMap(\.self) }
    }

    private func operands(_ given: Case, in context: Context) throws -> Operands {
        var seed: UInt64 = 0
        func leaf(_ shape: Shape) throws -> Tensor {
            seed += 1
            var random = SeededGenerator(seed: seed, stream: "attention")
            return try context.constant((0..<shape.elementCount).map { _ in Float(random.normal()) }, shape).asLeaf
        }
        // As projections are split into heads: positions before heads in memory.
        func split(_ heads: Int, _ length: Int) throws -> Tensor {
            try context.permute(try leaf([batch, length, heads, width]), [0, 2, 1, 3]).asLeaf
        }
        let biasRows = given.ownBias ? batch : 1
        return Operands(
            query: try split(heads, given.queries), key: try split(groups, keys), value: try split(groups, keys),
            prefixes: try lengths.map { $0 == 0 ? nil : try leaf([2, groups, $0, width]) },
            bias: given.biased ? try leaf([biasRows, heads, 1, keys]) : nil,
            biases: given.biased
                ? try lengths.map { $0 == 0 ? nil : try leaf([biasRows, heads, given.queries, $0]) } : [],
            mask: given.masked
                ? try context.constant(
                    (0..<batch * keys).map { Int32($0 % 3 == 1 || $0 < keys ? 0 : 1) }, [batch, keys])
                : nil)
    }

    private func found(_ x: Operands, _ given: Case, in context: Context) throws -> Tensor {
        try context.attentionWithPrefix(
            query: x.query, key: x.key, value: x.value,
            prefix: AttentionPrefix(keysValues: x.prefixes, rows: given.rows ? rows : nil, biases: x.biases),
            bias: x.bias, mask: x.mask, scale: 0.3, causal: given.causal)
    }

    /// Row by row, each with its prefix before its own keys.
    private func expected(_ x: Operands, _ given: Case, in context: Context) throws -> Tensor {
        func row(_ x: Tensor, _ index: Int) throws -> Tensor {
            x.shape[0] == 1 ? x : try context.slice(x, axis: 0, start: index, length: 1)
        }
        var results: [Tensor] = []
        for index in 0..<batch {
            let route = given.rows ? Int(rows[index]) : 0
            var (key, value) = (try row(x.key, index), try row(x.value, index))
            let length = lengths[route]
            if let prefix = x.prefixes[route] {
                let shape: Shape = [1, groups, length, width]
                func half(_ part: Int) throws -> Tensor {
                    try context.reshape(try context.slice(prefix, axis: 0, start: part, length: 1), shape)
                }
                key = try context.concat([half(0), key], axis: 2)
                value = try context.concat([half(1), value], axis: 2)
            }
            var bias = try x.bias.map { try row($0, index) }
            if let own = bias {
                let wide = try context.expand(own, to: [1, heads, given.queries, keys])
                let before = try x.biases[route].map { try row($0, index) }
                bias = try before.map { try context.concat([$0, wide], axis: 3) } ?? wide
            }
            // Causality as a mask of its own, since it is not about the prefix.
            var hidden = [Float](repeating: 0, count: given.queries * (length + keys))
            for query in 0..<given.queries {
                for column in 0..<keys where given.causal && column > query + keys - given.queries {
                    hidden[query * (length + keys) + length + column] = -1e30
                }
            }
            let causality = try context.constant(hidden, [1, 1, given.queries, length + keys])
            bias = try bias.map { try context.add($0, causality) } ?? causality
            let mask = try x.mask.map { mask in
                let ones = try context.full(1, .i32, [1, length])
                return try context.concat([ones, try row(mask, index)], axis: 1)
            }
            results.append(
                try context.attention(
                    query: try row(x.query, index), key: key, value: value, bias: bias, mask: mask, scale: 0.3,
                    causal: false))
        }
        return try context.concat(results, axis: 0)
    }

    @Test(arguments: cases) func valuesAndGradients(_ given: Case) throws {
        func run(
            _ attend: (Operands, Case, Context) throws -> Tensor
        ) throws -> (values: [Float], gradients: [[Float]]) {
            let context = Context(pool: pool, recordsGradients: true)
            let x = try operands(given, in: context)
            let result = try attend(x, given, context)
            var random = SeededGenerator(seed: 9, stream: "seed")
            let seed = try context.constant(
                (0..<result.elementCount).map { _ in Float(random.normal()) }, result.shape)
            try context.backward(result, seed: seed)
            let gradients = try x.leaves.map { leaf in
                try leaf.gradient?.value.map { try context.contiguous($0).floats }
                    ?? [Float](repeating: 0, count: leaf.elementCount)
            }
            return (try context.contiguous(result).floats, gradients)
        }
        let own = try run { try self.found($0, $1, in: $2) }
        let other = try run { try self.expected($0, $1, in: $2) }
        #expect(distance(own.values, other.values) < Self.tolerance)
        #expect(own.gradients.count == other.gradients.count)
        for (index, (one, two)) in zip(own.gradients, other.gradients).enumerated() {
            #expect(one.count == two.count && distance(one, two) < Self.tolerance, "operand \(index)")
        }
        #expect(own.gradients[3].contains { abs($0) > 1e-3 }, "the prefix is reached")
    }

    /// The gradient of a prefix against central differences.
    @Test func finiteDifferences() throws {
        let given = Case(causal: true, masked: true, biased: true)
        func loss(shifting shift: (index: Int, by: Float)?) throws -> (Double, Tensor, Context) {
            let context = Context(pool: pool, recordsGradients: true)
            let x = try operands(given, in: context)
            if let shift {
                var values = x.prefixes[0]!.floats
                values[shift.index] += shift.by
                x.prefixes[0]!.assign(values)
            }
            let result = try found(x, given, in: context)
            let squares = try context.unary(.square, result)
            let total = try context.contiguous(squares).floats.reduce(0) { $0 + Double($1) }
            try context.backward(squares, seed: try context.full(1, .f32, squares.shape))
            return (total, x.prefixes[0]!.gradient!.value!, context)
        }
        let (_, gradient, context) = try loss(shifting: nil)
        let values = try context.contiguous(gradient).floats
        for index in stride(from: 0, to: values.count, by: 7) {
            let step: Float = 1e-2
            let slope = try (loss(shifting: (index, step)).0 - loss(shifting: (index, -step)).0) / Double(2 * step)
            // The error of a central difference, and of sums in f32 of about 100.
            #expect(abs(Double(values[index]) - slope) < 2e-2 * max(1, abs(slope)), "element \(index)")
        }
    }

    /// Without a prefix in any route it is attention, bit for bit.
    @Test func noPrefixAtAll() throws {
        let context = Context(pool: pool, recordsGradients: false)
        let x = try operands(Case(), in: context)
        let plain = try context.attention(
            query: x.query, key: x.key, value: x.value, bias: nil, mask: nil, scale: 0.3, causal: false)
        let found = try context.attentionWithPrefix(
            query: x.query, key: x.key, value: x.value, prefix: AttentionPrefix(keysValues: [nil]), bias: nil,
            mask: nil, scale: 0.3, causal: false)
        #expect(bitEqual(try context.contiguous(plain).floats, try context.contiguous(found).floats))
    }

    @Test func misfits() throws {
        let context = Context(pool: pool, recordsGradients: false)
        let x = try operands(Case(), in: context)
        func attend(_ prefix: AttentionPrefix) throws {
            _ = try context.attentionWithPrefix(
                query: x.query, key: x.key, value: x.value, prefix: prefix, bias: nil, mask: nil, scale: 1,
                causal: false)
        }
        func zeros(_ shape: Shape, _ type: DType = .f32) throws -> Tensor { try context.full(0, type, shape) }
        let good = try zeros([2, groups, 3, width])
        expectError(.invalidArgument, "attention_with_prefix: a prefix needs one route or more, found 0") {
            try attend(AttentionPrefix(keysValues: []))
        }
        expectError(.invalidArgument, "the prefix must name the route of each of the 5 rows, found 4") {
            try attend(AttentionPrefix(keysValues: [good], rows: [0, 0, 0, 0]))
        }
        for route: Int32 in [-1, 1] {
            expectError(.invalidArgument, "the route of row 2 must be 0 ... 0, found \(route)") {
                try attend(AttentionPrefix(keysValues: [good], rows: [0, 0, route, 0, 0]))
            }
        }
        let wrong: [(Shape, DType)] = [
            ([1, groups, 3, width], .f32), ([2, heads, 3, width], .f32), ([2, groups, 3, width + 1], .f32),
            ([2, groups, 3 * width], .f32), ([2, groups, 3, width], .i32),
        ]
        for (shape, type) in wrong {
            expectError(
                .shape, "keys_values of route 1 must be f32 [2, 2, prefix, 8]", "found \(type.name) \(shape)"
            ) { try attend(AttentionPrefix(keysValues: [good, try zeros(shape, type)], rows: [0, 0, 0, 0, 0])) }
        }
        expectError(.shape, "prefix_biases of route 0 [1, 1, 1, 2] does not broadcast to [5, 4, 3, 3]") {
            try attend(AttentionPrefix(keysValues: [good], biases: [try zeros([1, 1, 1, 2])]))
        }
    }
}
