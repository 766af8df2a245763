import Engine
import Support
import TestSupport
import Testing

/// How gradients gather where values are used more than once, and where none is wanted.
@Suite struct GradientSlotTests {
    let context = Context(pool: MemoryPool(), recordsGradients: true)

    private func leaf(_ values: [Float], _ shape: Shape) throws -> Tensor { try context.constant(values, shape).asLeaf }
    private func total(_ x: Tensor) throws -> Tensor {
        try context.sum(try context.reshape(x, [-1]), axis: 0, keep: false)
    }
    private func gradient(_ leaf: Tensor) throws -> [Float]? {
        try leaf.gradient?.value.map { try context.contiguous($0).floats }
    }

    @Test func aValueAddedToItself() throws {
        let x = try leaf([1, 2, 3], [3])
        try context.backward(try total(try context.add(x, x)))
        #expect(try gradient(x) == [2, 2, 2])
    }

    @Test func aValueTimesItselfAndMore() throws {
        let x = try leaf([1, 2, 3], [3])
        let cube = try context.mul(try context.mul(x, x), x)
        try context.backward(try total(try context.sub(try context.add(cube, x), try context.div(x, x))))
        #expect(try gradient(x) == [4, 13, 28])
    }

    /// Two sums share one upstream gradient; adding to one must not change the other.
    @Test func sharedUpstreamGradientsStayApart() throws {
        let (a, b) = (try leaf([1, 2], [2]), try leaf([3, 4], [2]))
        let sum = try context.add(a, b)
        // Recorded first, so that it is walked last, when the other has been added to.
        let tenfold = try context.affine(a, scale: 10, shift: 0)
        let more = try context.add(tenfold, try context.affine(sum, scale: 3, shift: 0))
        try context.backward(try total(try context.add(more, sum)))
        #expect(try gradient(a) == [14, 14])
        #expect(try gradient(b) == [4, 4])
    }

    /// The sum hands its own gradient on to both operands; the first has one already and must not add into what the second
    /// gets.
    @Test func aSharedGradientIsNotAddedInto() throws {
        let (a, b) = (try leaf([1, 2], [2]), try leaf([3, 4], [2]))
        try context.backward(try total(try context.add(try context.add(a, b), a)))
        #expect(try gradient(a) == [2, 2])
        #expect(try gradient(b) == [1, 1])
    }

    @Test func viewsOfOneValue() throws {
        let x = try leaf([1, 2, 3, 4, 5, 6], [2, 3])
        let turned = try context.permute(x, [1, 0])
        let first = try context.slice(x, axis: 1, start: 0, length: 2)
        let last = try context.slice(x, axis: 1, start: 1, length: 2)
        let product = try context.mul(first, last)
        let loss = try context.add(try total(product), try total(try context.unary(.square, turned)))
        try context.backward(loss)
        // Of a b + b c over each row, and of the squares.
        #expect(try gradient(x) == [4, 8, 8, 13, 20, 17])
    }

    @Test func broadcastOperandsGetSums() throws {
        let (x, bias, scale) = (
            try leaf([1, 2, 3, 4, 5, 6], [2, 3]), try leaf([1, 1, 1], [3]), try leaf([2, 3], [2, 1])
        )
        try context.backward(try total(try context.mul(try context.add(x, bias), scale)))
        #expect(try gradient(x) == [2, 2, 2, 3, 3, 3])
        #expect(try gradient(bias) == [5, 5, 5])
        #expect(try gradient(scale) == [9, 18])
    }

    @Test func frozenBranchesRecordNothing() throws {
        let (x, frozen) = (try leaf([1, 2], [2]), try context.constant([3, 4] as [Float], [2]))
        let product = try context.mul(frozen, frozen)
        #expect(product.gradient == nil && frozen.gradient == nil)
        let stopped = try context.mul(context.stopGradient(x), frozen)
        #expect(stopped.gradient == nil)
        try context.backward(try total(try context.add(try context.mul(x, frozen), stopped)))
        #expect(try gradient(x) == [3, 4])
        #expect(frozen.gradient == nil)
    }

    @Test func aLeafThatTheLossDoesNotUseHasNoGradient() throws {
        let (used, unused) = (try leaf([1], [1]), try leaf([2], [1]))
        _ = try context.mul(used, unused)
        try context.backward(try total(try context.affine(used, scale: 5, shift: 1)))
        #expect(try gradient(used) == [5])
        #expect(unused.gradient?.value == nil)
    }

    @Test func gradientsGatherOverPassesUntilCleared() throws {
        let x = try leaf([1, 2], [2])
        for expected in [3, 6, 9] as [Float] {
            try context.backward(try total(try context.affine(x, scale: 3, shift: 0)))
            #expect(try gradient(x) == [expected, expected])
            // A pass is walked back once.
            context.reset()
        }
        x.gradient?.clear()
        #expect(x.gradient?.value == nil)
    }

    @Test func inferenceRecordsNothing() throws {
        let inference = Context(pool: MemoryPool(), recordsGradients: false)
        let x = try leaf([1, 2], [2])
        let sum = try inference.add(x, x)
        #expect(sum.gradient == nil)
        expectError(.invalidArgument, "nothing that the loss depends on wants a gradient") {
            try inference.backward(sum)
        }
    }

    @Test func seedsAndScalars() throws {
        let x = try leaf([1, 2], [2])
        let double = try context.affine(x, scale: 2, shift: 0)
        expectError(.shape, "the loss must be a scalar, found shape [2]") { try context.backward(double) }
        expectError(.shape, "the seed is [1], the loss [2]") {
            try context.backward(double, seed: try context.constant([1] as [Float], [1]))
        }
        try context.backward(double, seed: try context.constant([1, 10] as [Float], [2]))
        #expect(try gradient(x) == [2, 20])
    }

    /// The first maximum of equals gets the whole gradient, and a gathered element every one of its copies'.
    @Test func choicesOfElements() throws {
        let x = try leaf([1, 5, 5, 2, 0, 2], [2, 3])
        let index = try context.constant([0, 0, 2, 1] as [Int32], [2, 2])
        let loss = try context.add(
            try total(try context.max(x, axis: 1, keep: false)), try total(try context.gather(x, axis: 1, index: index))
        )
        try context.backward(loss)
        #expect(try gradient(x) == [2, 1, 0, 1, 1, 1])
    }
}
