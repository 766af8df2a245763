import Engine
import Support
import TestSupport
import Testing

/// One sentence that names the operation and what was found, for every kind of misfit.
@Suite struct MisfitTests {
    let context = Context(pool: MemoryPool(), recordsGradients: false)

    private func f32(_ shape: Shape) throws -> Tensor { try context.full(0, .f32, shape) }
    private func i32(_ shape: Shape, _ value: Double = 0) throws -> Tensor { try context.full(value, .i32, shape) }

    @Test func elementwise() throws {
        expectError(.shape, "add: shapes [2] and [3] do not broadcast") { try context.add(f32([2]), f32([3])) }
        expectError(.shape, "mul: dtype must be f32, found i32") { try context.mul(f32([2]), i32([2])) }
        expectError(.shape, "div: shapes") { try context.div(f32([2, 2]), f32([3, 2])) }
        expectError(.shape, "exp: dtype must be f32, found i32") { try context.unary(.exp, i32([2])) }
        expectError(.shape, "where: condition must be i32, found f32") {
            try context.select(f32([1]), f32([1]), f32([1]))
        }
        expectError(.shape, "where: shapes [2], [3] and [1] do not broadcast") {
            try context.select(i32([2]), f32([3]), f32([1]))
        }
        expectError(.unsupported, "cast: f32 to bf16 is not offered") { try context.cast(f32([1]), to: .bf16) }
        expectError(.numeric, "cast: 3e+09 does not fit i32") {
            try context.cast(context.full(3e9, .f32, [1]), to: .i32)
        }
        expectError(.invalidArgument, "full: 3000000000.0 does not fit i32") { try i32([1], 3e9) }
        expectError(.unsupported, "full: dtype must be f32 or i32, found f16") { try context.full(0, .f16, [1]) }
    }

    @Test func matrices() throws {
        expectError(.shape, "matmul", "[2, 3]", "[4, 5]") { try context.matmul(f32([2, 3]), f32([4, 5])) }
        expectError(.shape, "matmul", "[3]") { try context.matmul(f32([3]), f32([3, 1])) }
        expectError(.shape, "matmul", "[2, 3, 4]", "[3, 4, 5]") { try context.matmul(f32([2, 3, 4]), f32([3, 4, 5])) }
        expectError(.shape, "linear: input [2, 3] does not fit weight [4, 5] f32") {
            try context.linear(f32([2, 3]), weight: f32([4, 5]), bias: nil)
        }
        expectError(.shape, "linear: bias must be [4], found [3]") {
            try context.linear(f32([2, 5]), weight: f32([4, 5]), bias: f32([3]))
        }
        let key = try f32([1, 2, 3, 4])
        expectError(.shape, "attention") {
            try context.attention(
                query: f32([1, 2, 3, 5]), key: key, value: key, bias: nil, mask: nil, scale: 1, causal: false)
        }
        expectError(.shape, "attention: bias [7] does not broadcast to [1, 2, 3, 3]") {
            try context.attention(query: key, key: key, value: key, bias: f32([7]), mask: nil, scale: 1, causal: false)
        }
        expectError(.shape, "attention", "mask") {
            try context.attention(
                query: key, key: key, value: key, bias: nil, mask: i32([1, 4]), scale: 1, causal: false)
        }
        expectError(.shape, "rotary: x must be [batch, heads, n, d] with an even d, found [1, 2, 3, 5]") {
            try context.rotary(f32([1, 2, 3, 5]), cosine: f32([1, 3, 2]), sine: f32([1, 3, 2]))
        }
        expectError(.shape, "rotary: cosine and sine must be [1 or 1, 3, 2] for x", "found [1, 2, 3] and [1, 3, 2]") {
            try context.rotary(key, cosine: f32([1, 2, 3]), sine: f32([1, 3, 2]))
        }
        expectError(.shape, "rotary: dtype must be f32, found i32") {
            try context.rotary(key, cosine: i32([1, 3, 2]), sine: i32([1, 3, 2]))
        }
    }

    @Test func axesAndReductions() throws {
        expectError(.shape, "sum: axis 2 is out of range for shape [2, 3]") {
            try context.sum(f32([2, 3]), axis: 2, keep: false)
        }
        expectError(.shape, "mean: axis -3 is out of range") { try context.mean(f32([2, 3]), axis: -3, keep: true) }
        expectError(.shape, "max: axis 1 of shape [2, 0] is empty") {
            try context.max(f32([2, 0]), axis: 1, keep: false)
        }
        expectError(.shape, "argmax: axis 0 of shape [0] is empty") {
            try context.argmax(f32([0]), axis: 0, keep: false)
        }
        expectError(.shape, "softmax", "dtype must be f32") { try context.softmax(i32([2]), axis: 0) }
        expectError(.shape, "layer_norm", "[3]") {
            try context.layerNorm(f32([2, 4]), weight: f32([3]), bias: nil, epsilon: 1e-5)
        }
        expectError(.shape, "rms_norm", "[3]") { try context.rmsNorm(f32([2, 4]), weight: f32([3]), epsilon: 1e-5) }
    }

    @Test func viewsAndJoins() throws {
        expectError(.shape, "permute: axes [0, 0] name an axis twice") { try context.permute(f32([2, 3]), [0, 0]) }
        expectError(.shape, "permute: axes [0] are no permutation") { try context.permute(f32([2, 3]), [0]) }
        expectError(.shape, "permute: axes [0, 2] are no permutation") { try context.permute(f32([2, 3]), [0, 2]) }
        expectError(.shape, "expand: [2, 3] does not broadcast to [3, 3]") {
            try context.expand(f32([2, 3]), to: [3, 3])
        }
        expectError(.shape, "expand: [2, 3] does not broadcast to [3]") { try context.expand(f32([2, 3]), to: [3]) }
        expectError(.shape, "slice: 2 elements from 2 do not fit axis 1") {
            try context.slice(f32([2, 3]), axis: 1, start: 2, length: 2)
        }
        expectError(.shape, "slice: -1 elements") { try context.slice(f32([2, 3]), axis: 1, start: 0, length: -1) }
        expectError(.shape, "slice") { try context.slice(f32([2, 3]), axis: 1, start: .max, length: 1) }
        expectError(.invalidArgument, "concat: no parts") { try context.concat([], axis: 0) }
        expectError(.shape, "concat: [2, 4] and [2, 3] differ beside axis 0") {
            try context.concat([f32([2, 3]), f32([2, 4])], axis: 0)
        }
        expectError(.shape, "concat", "i32") { try context.concat([f32([2]), i32([2])], axis: 0) }
    }

    @Test func indices() throws {
        let table = try f32([3, 2])
        expectError(.invalidArgument, "embedding: token id 3 at position 1 is outside 0 ... 2") {
            try context.embedding(table, ids: context.constant([0, 3] as [Int32], [2]))
        }
        expectError(.shape, "embedding: token id must be i32, found f32") {
            try context.embedding(table, ids: f32([1]))
        }
        expectError(.shape, "embedding: weight must be [n, d], found [3]") {
            try context.embedding(f32([3]), ids: i32([1]))
        }
        expectError(.invalidArgument, "index_select: index -1 at position 0") {
            try context.indexSelect(table, axis: 0, index: i32([1], -1))
        }
        expectError(.shape, "index_select: index must have 1 axis, found [1, 1]") {
            try context.indexSelect(table, axis: 0, index: i32([1, 1]))
        }
        expectError(.shape, "gather: index [3, 3] does not fit [3, 2] along axis 0") {
            try context.gather(table, axis: 0, index: i32([3, 3]))
        }
        expectError(.invalidArgument, "gather: index 2") { try context.gather(table, axis: 1, index: i32([3, 1], 2)) }
    }

    @Test func losses() throws {
        func loss(_ logits: Tensor, _ targets: Tensor, smoothing: Double = 0) throws -> Tensor {
            try context.crossEntropy(
                logits, targets: targets, ignoreIndex: -100, labelSmoothing: smoothing, reduction: .mean)
        }
        expectError(.shape, "cross_entropy: targets must be i32 of shape [2], found i32 [3]") {
            try loss(f32([2, 4]), i32([3]))
        }
        expectError(.invalidArgument, "cross_entropy: target 4 at position 0 is outside 0 ... 3") {
            try loss(f32([1, 4]), i32([1], 4))
        }
        expectError(.invalidArgument, "every target is ignored") { try loss(f32([1, 4]), i32([1], -100)) }
        expectError(.invalidArgument, "label_smoothing must be in [0, 1), found 1.0") {
            try loss(f32([1, 4]), i32([1]), smoothing: 1)
        }
    }

    /// A result may have one axis more than its operand.
    @Test func shapesBeyondTheLargestRankAreRefused() throws {
        let deep = try i32([1, 1, 1, 1, 1, 1, 1, 1])
        expectError(.shape, "embedding: ids have too many axes") { try context.embedding(f32([3, 2]), ids: deep) }
    }
}
