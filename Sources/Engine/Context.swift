import Kernels
import Support

/// One forward pass on the native engine: makes tensors, runs operations, and, when asked, records what a
/// backward pass needs.
///
/// Operations are methods in the `Operations` folder; they check shapes and dtypes, throw one sentence on a
/// misfit, and record a gradient only if an operand has a gradient slot, so frozen weights and everything before
/// the earliest trained seam cost nothing. Not thread-safe: one thread per session.
public final class Context {
    private struct Step {
        let output: GradientSlot
        let backward: (Tensor) throws(SeamError) -> Void
    }

    public let pool: MemoryPool
    /// The first failure latched at the C border; later operations there do nothing.
    public var failure: SeamError?
    /// Whether `dropout` drops anything: the host sets it while it calls into a pass that is differentiated.
    public var isTraining = false
    /// What `dropout` draws from; a training sets it for each step.
    public var random = SeededGenerator(seed: 0)
    private let recordsGradients: Bool
    private var tape: [Step] = []
    private var handles: [Tensor] = []
    private var scopes: [Int] = []
    /// Scopes that were open when the plugin's function that runs was called: it can end none of them.
    private var scopeFloor = 0
    /// The recorded pass has been walked back and is gone.
    private var isSpent = false

    /// - Parameter recordsGradients: false computes only, for inference.
    public init(pool: MemoryPool, recordsGradients: Bool) {
        self.pool = pool
        self.recordsGradients = recordsGradients
    }

    // MARK: Tensors

    /// A contiguous tensor with undefined values.
    public func makeTensor(_ shape: Shape, _ dtype: DType = .f32, requiresGradient: Bool = false)
        throws(SeamError) -> Tensor
    {
        guard shape.isAddressable else { throw SeamError(.outOfMemory, "a tensor of shape \(shape) is too large") }
        let storage = try Storage(byteCount: Swift.max(1, shape.elementCount) * dtype.byteCount, pool: pool)
        return Tensor(shape: shape, dtype: dtype, storage: storage, requiresGradient: requiresGradient)
    }

    /// A contiguous result tensor, with a slot if any operand wants a gradient and this pass records.
    func makeResult(_ shape: Shape, from operands: Tensor?...) throws(SeamError) -> Tensor {
        let result = try makeTensor(shape, requiresGradient: wantsGradient(operands))
        result.isResult = true
        return result
    }

    /// Whether a tensor's memory may be written by the operation that is given it last: it is the result of an
    /// operation of this pass and all that is on its memory, and no backward step has kept it. Only what was retained
    /// lately is looked through; for what is older the answer is no.
    func isScratch(_ x: Tensor) -> Bool {
        !recordsGradients && x.isResult && x.ownsStorageAlone()
            && handles.suffix(256).reversed().contains { $0 === x }
    }

    func wantsGradient(_ operands: [Tensor?]) -> Bool {
        recordsGradients && operands.contains { $0?.gradient != nil }
    }

    /// A view of `source` as the result of an operation, with a slot if `source` has one.
    func makeView(of source: Tensor, shape: Shape, strides: Shape, offset: Int) -> Tensor {
        source.view(
            shape: shape, strides: strides, offset: offset,
            gradient: wantsGradient([source]) ? GradientSlot(shape: shape) : nil)
    }

    /// Copies values into a new tensor; `values` must have the shape's element count.
    public func constant(_ values: [Float], _ shape: Shape) throws(SeamError) -> Tensor {
        let tensor = try makeTensor(shape)
        tensor.assign(values)
        return tensor
    }

    public func constant(_ values: [Int32], _ shape: Shape) throws(SeamError) -> Tensor {
        precondition(values.count == shape.elementCount)
        let tensor = try makeTensor(shape, .i32)
        tensor.i32.update(from: values, count: values.count)
        return tensor
    }

    /// Every element `value` (truncated for i32).
    public func full(_ value: Double, _ dtype: DType, _ shape: Shape) throws(SeamError) -> Tensor {
        let tensor = try makeTensor(shape, dtype)
        switch dtype {
        case .f32: sk_fill(tensor.f32, Float(value), Int64(shape.elementCount))
        case .i32:
            guard let integer = Int32(exactly: value.rounded(.towardZero)) else {
                throw SeamError(.invalidArgument, "full: \(value) does not fit i32")
            }
            tensor.i32.update(repeating: integer, count: shape.elementCount)
        case .bf16, .f16: throw SeamError(.unsupported, "full: dtype must be f32 or i32, found \(dtype.name)")
        }
        return tensor
    }

    /// `x` itself if row-major, else a row-major copy, without history.
    public func contiguous(_ x: Tensor) throws(SeamError) -> Tensor {
        if x.isContiguous { return x }
        let result = try makeTensor(x.shape, x.dtype)
        copy(x, into: result)
        return result
    }

    /// `x` itself if row-major and in memory of the pool, else such a copy, without history: what may outlive the
    /// plugin that made it.
    public func owned(_ x: Tensor) throws(SeamError) -> Tensor {
        x.isContiguous && !x.storage.isBorrowed ? x : try copied(x)
    }

    /// A row-major copy of `x` in memory of its own, without history.
    public func copied(_ x: Tensor) throws(SeamError) -> Tensor {
        let result = try makeTensor(x.shape, x.dtype)
        copy(x, into: result)
        return result
    }

    /// Copies `source`, read through its strides, into a contiguous tensor of its shape and dtype.
    func copy(_ source: Tensor, into target: Tensor) {
        guard source.dtype.byteCount == 4 else { return copyHalves(source, into: target) }
        source.strides.withInt64 { strides in
            source.shape.withInt64 { shape in
                sk_copy_strided(target.baseAddress, source.baseAddress, strides, shape, Int32(source.rank))
            }
        }
    }

    /// Copies elements of two bytes: half-precision weights, which are hardly ever seen through a view.
    private func copyHalves(_ source: Tensor, into target: Tensor) {
        if source.isContiguous { return target.u16.update(from: source.u16, count: source.elementCount) }
        var index = Shape(repeating: 0, count: source.rank)
        var place = 0
        for position in 0..<source.elementCount {
            target.u16[position] = source.u16[place]
            // The next index in row-major order, and its place.
            for axis in stride(from: source.rank - 1, through: 0, by: -1) {
                index[axis] += 1
                place += source.strides[axis]
                if index[axis] < source.shape[axis] { break }
                place -= index[axis] * source.strides[axis]
                index[axis] = 0
            }
        }
    }

    // MARK: Gradients

    /// Records how the gradient of `result` becomes gradients of the operands. The closure must hold what it
    /// needs and no more: values and slots, not whole tensors whose values are unused, and this context unowned, since
    /// a pass that is never walked back would keep itself alive.
    func record(_ result: Tensor, _ backward: @escaping (Tensor) throws(SeamError) -> Void) {
        guard let slot = result.gradient else { return }
        tape.append(Step(output: slot, backward: backward))
    }

    /// Gradients of `loss` (a scalar, or any tensor with `seed` as its own gradient) with respect to every leaf
    /// that this pass used, gathered in the leaves' slots. Frees the recorded pass as it goes.
    public func backward(_ loss: Tensor, seed: Tensor? = nil) throws(SeamError) {
        guard !isSpent else { throw SeamError(.invalidArgument, "backward: a pass can be walked back only once") }
        guard let slot = loss.gradient else {
            throw SeamError(.invalidArgument, "backward: nothing that the loss depends on wants a gradient")
        }
        if let seed {
            guard seed.shape == loss.shape else {
                throw SeamError(.shape, "backward: the seed is \(seed.shape), the loss \(loss.shape)")
            }
            try slot.add(shared: seed, in: self)
        } else {
            guard loss.elementCount == 1 else {
                throw SeamError(.shape, "backward: the loss must be a scalar, found shape \(loss.shape)")
            }
            try slot.add(shared: try full(1, .f32, loss.shape), in: self)
        }
        isSpent = true
        while let step = tape.popLast() {
            guard let gradient = step.output.value else { continue }
            step.output.clear()
            try step.backward(gradient)
        }
    }

    /// An operation computed elsewhere (an opaque backbone): `backward` receives the gradient of the result,
    /// contiguous, and returns that of `operand`.
    public func custom(
        result: Tensor, operand: Tensor, backward: @escaping (Tensor) throws(SeamError) -> Tensor
    ) -> Tensor {
        guard wantsGradient([operand]), let slot = operand.gradient else { return result }
        let output = result.asLeaf
        record(output) { [unowned self] (gradient) throws(SeamError) in
            try slot.add(shared: try backward(try self.contiguous(gradient)), in: self)
        }
        return output
    }

    // MARK: Handles at the C border

    /// Keeps `tensor` alive until the pass or its scope ends, and returns it.
    public func retain(_ tensor: Tensor) -> Tensor {
        handles.append(tensor)
        return tensor
    }

    public func beginScope() { scopes.append(handles.count) }

    /// Releases what was retained since the matching `beginScope`, but for `kept`. A scope that was begun outside the
    /// plugin's function that runs is not ended: that is a failure.
    public func endScope(keeping kept: [Tensor]) {
        guard scopes.count > scopeFloor, let mark = scopes.popLast() else {
            let what = scopes.isEmpty ? "there is no open scope" : "this call has begun no scope that is open"
            failure = failure ?? SeamError(.plugin, "scope_end: \(what)")
            return
        }
        handles.removeLast(handles.count - mark)
        handles.append(contentsOf: kept)
    }

    /// Runs a function of a plugin, which can end only the scopes that it begins. What it leaves open is closed; tensors
    /// made in it live on until the scope around the call or the pass ends, since the function may have given them back.
    public func withOwnScopes<Result>(_ body: () throws -> Result) rethrows -> Result {
        let outer = scopeFloor
        scopeFloor = scopes.count
        defer {
            scopes.removeLast(Swift.max(scopes.count - scopeFloor, 0))
            scopeFloor = outer
        }
        return try body()
    }

    /// Ends the pass: releases every handle and all that was recorded. The context can be used for a new pass.
    public func reset() {
        handles.removeAll(keepingCapacity: true)
        scopes.removeAll(keepingCapacity: true)
        tape.removeAll(keepingCapacity: true)
        isSpent = false
        failure = nil
    }
}
