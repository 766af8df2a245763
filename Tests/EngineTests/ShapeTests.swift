import Engine
import Support
import TestSupport
import Testing

/// A tensor's values in row-major order by NumPy's rules, element by element: what views must look like.
struct Reference {
    var shape: [Int]
    var values: [Float]

    /// The index of every element in row-major order.
    static func indices(_ shape: [Int]) -> [[Int]] {
        shape.reduce([[]]) { prefixes, size in prefixes.flatMap { prefix in (0..<size).map { prefix + [$0] } } }
    }

    func at(_ index: [Int]) -> Float {
        values[zip(index, shape).reduce(0) { $0 * $1.1 + $1.0 }]
    }

    private func mapped(_ shape: [Int], _ origin: ([Int]) -> [Int]) -> Reference {
        Reference(shape: shape, values: Self.indices(shape).map { at(origin($0)) })
    }

    func permuted(_ axes: [Int]) -> Reference {
        mapped(axes.map { shape[$0] }) { index in
            var origin = index
            for (position, axis) in axes.enumerated() { origin[axis] = index[position] }
            return origin
        }
    }

    func sliced(_ axis: Int, _ start: Int, _ length: Int) -> Reference {
        var size = shape
        size[axis] = length
        return mapped(size) { index in
            var origin = index
            origin[axis] += start
            return origin
        }
    }

    func expanded(_ size: [Int]) -> Reference {
        let lead = size.count - shape.count
        return mapped(size) { index in shape.indices.map { shape[$0] == 1 ? 0 : index[lead + $0] } }
    }
}

@Suite struct ShapeTests {
    let context = Context(pool: MemoryPool(), recordsGradients: false)

    @Test func broadcasting() {
        let fits: [(Shape, Shape, Shape)] = [
            ([], [], []), ([], [2, 3], [2, 3]), ([3], [2, 3], [2, 3]), ([2, 1], [3], [2, 3]), ([1], [0], [0]),
            ([5, 1, 4], [1, 3, 1], [5, 3, 4]), ([0, 1], [1, 4], [0, 4]),
        ]
        for (a, b, expected) in fits {
            #expect(Shape.broadcast(a, b) == expected)
            #expect(Shape.broadcast(b, a) == expected)
        }
        for (a, b) in [([2], [3]), ([0], [2]), ([2, 3], [2]), ([2, 3], [3, 3])] as [(Shape, Shape)] {
            #expect(Shape.broadcast(a, b) == nil)
        }
    }

    @Test func shapesAsCollections() {
        var shape: Shape = [2, 3, 4]
        #expect(shape.elementCount == 24 && shape.contiguousStrides == [12, 4, 1])
        shape.remove(at: 1)
        #expect(shape == [2, 4])
        shape.insert(5, at: 0)
        shape.insert(6, at: 3)
        #expect(shape == [5, 2, 4, 6] && shape.description == "[5, 2, 4, 6]")
        #expect(Shape().elementCount == 1 && Shape([0, 3]).elementCount == 0)
    }

    /// Random chains of views, then a reshape, against the element-by-element reference.
    @Test(arguments: 0..<20) func viewsAndReshapes(seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed), stream: "views")
        for _ in 0..<25 {
            let rank = Int.random(in: 1...4, using: &random)
            let shape = (0..<rank).map { _ in [1, 1, 2, 3, 4].randomElement(using: &random)! }
            let count = shape.reduce(1, *)
            var expected = Reference(shape: shape, values: (0..<count).map { Float($0) })
            var tensor = try context.constant(expected.values, Shape(shape))
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let axis = Int.random(in: 0..<rank, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0:
                    let axes = Array(0..<rank).shuffled(using: &random)
                    expected = expected.permuted(axes)
                    tensor = try context.permute(tensor, Shape(axes))
                case 1:
                    let start = Int.random(in: 0..<expected.shape[axis], using: &random)
                    let length = Int.random(in: 1...expected.shape[axis] - start, using: &random)
                    expected = expected.sliced(axis, start, length)
                    tensor = try context.slice(tensor, axis: axis, start: start, length: length)
                default:
                    let size = expected.shape.map { $0 == 1 && Bool.random(using: &random) ? 2 : $0 }
                    expected = expected.expanded(size)
                    tensor = try context.expand(tensor, to: Shape(size))
                }
                #expect(Array(tensor.shape) == expected.shape)
                #expect(try context.contiguous(tensor).floats == expected.values)
            }
            let target = regrouped(expected.shape, &random)
            let reshaped = try context.reshape(tensor, Shape(target))
            #expect(Array(reshaped.shape) == target)
            #expect(try context.contiguous(reshaped).floats == expected.values, "\(expected.shape) to \(target)")
            if tensor.isContiguous { #expect(reshaped.baseAddress == tensor.baseAddress) }
            #expect(try context.copied(reshaped).floats == expected.values)
            #expect(try context.add(reshaped, reshaped).floats == expected.values.map { 2 * $0 })
        }
    }

    /// Another shape of the same size: prime factors dealt into axes, with axes of size 1 between them.
    private func regrouped(_ shape: [Int], _ random: inout SeededGenerator) -> [Int] {
        let factors = shape.flatMap { $0 == 4 ? [2, 2] : $0 == 1 ? [] : [$0] }
        var result: [Int] = [1]
        for factor in factors {
            if Bool.random(using: &random), result.count < 5 {
                result.append(factor)
            } else {
                result[result.count - 1] *= factor
            }
        }
        if Bool.random(using: &random) { result.insert(1, at: Int.random(in: 0...result.count, using: &random)) }
        return result
    }

    /// The gradient of views is the transposed selection: an element gets what its copies got.
    @Test(arguments: 0..<10) func gradientsOfViews(seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed), stream: "view gradients")
        let recording = Context(pool: MemoryPool(), recordsGradients: true)
        let shape = [2, 1, 3, 4]
        var places = Reference(shape: shape, values: (0..<24).map { Float($0) })
        let leaf = try recording.constant(places.values, Shape(shape)).asLeaf
        var tensor = leaf
        for _ in 0..<3 {
            let axes = Array(0..<4).shuffled(using: &random)
            places = places.permuted(axes)
            tensor = try recording.permute(tensor, Shape(axes))
            let axis = Int.random(in: 0..<4, using: &random)
            let length = Int.random(in: 1...places.shape[axis], using: &random)
            let start = places.shape[axis] - length
            places = places.sliced(axis, start, length)
            tensor = try recording.slice(tensor, axis: axis, start: start, length: length)
            let size = places.shape.map { $0 == 1 ? 2 : $0 }
            places = places.expanded(size)
            tensor = try recording.expand(tensor, to: Shape(size))
        }
        let flat = try recording.reshape(tensor, [-1])
        let seed = (0..<flat.elementCount).map { _ in Float(Int.random(in: -8...8, using: &random)) }
        try recording.backward(flat, seed: try recording.constant(seed, flat.shape))
        var expected = [Float](repeating: 0, count: 24)
        for (place, value) in zip(places.values, seed) { expected[Int(place)] += value }
        #expect(try recording.contiguous(#require(leaf.gradient?.value)).floats == expected)
    }

    @Test func reshapeInfersOneSizeAndRefusesMisfits() throws {
        let x = try context.constant((0..<6).map { Float($0) }, [2, 3])
        #expect(try context.reshape(x, [-1, 2]).shape == [3, 2])
        #expect(try context.reshape(x, [1, -1, 6]).shape == [1, 1, 6])
        expectError(.shape, "reshape: [2, 3] has 6 elements, [4, -1] does not") { try context.reshape(x, [4, -1]) }
        expectError(.shape, "reshape", "[7]") { try context.reshape(x, [7]) }
        expectError(.shape, "more than one unknown, a negative size or too many elements") {
            try context.reshape(x, [-1, -1])
        }
        expectError(.shape, "more than one unknown, a negative size or too many elements") {
            try context.reshape(x, [-2, -3])
        }
        let empty = try context.constant([] as [Float], [0, 3])
        #expect(try context.reshape(empty, [5, 0]).shape == [5, 0])
        #expect(try context.reshape(empty, [-1, 3]).shape == [0, 3])
    }

    /// Half-precision weights: elements of two bytes, which a copy must not take for four.
    @Test(arguments: [DType.bf16, .f16]) func viewsOfHalfPrecision(_ dtype: DType) throws {
        let one: UInt16 = dtype == .bf16 ? 0x3f80 : 0x3c00
        let two: UInt16 = 0x4000
        let three: UInt16 = dtype == .bf16 ? 0x4040 : 0x4200
        let bits: [UInt16] = [one, two, three, three, two, one]
        let storage = try bits.withUnsafeBytes { try Storage(copying: $0) }
        let x = Tensor(shape: [2, 3], dtype: dtype, storage: storage)
        #expect(try context.cast(context.copied(x), to: .f32).floats == [1, 2, 3, 3, 2, 1])
        #expect(try context.cast(context.owned(x), to: .f32).floats == [1, 2, 3, 3, 2, 1])
        let turned = try context.permute(x, [1, 0])
        #expect(try context.cast(context.contiguous(turned), to: .f32).floats == [1, 3, 2, 2, 3, 1])
        let columns = try context.slice(x, axis: 1, start: 1, length: 2)
        #expect(try context.cast(context.contiguous(columns), to: .f32).floats == [2, 3, 2, 1])
        let ids = try context.constant([2, 0] as [Int32], [2])
        #expect(try context.embedding(turned, ids: ids).floats == [3, 1, 1, 3])
        let input = try context.constant([1, 10] as [Float], [1, 2])
        #expect(try context.linear(input, weight: turned, bias: nil).floats == [31, 22, 13])
    }
}
