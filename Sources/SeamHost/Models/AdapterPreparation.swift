import CSeam
import Engine
import Glibc
import Support

/// What one call of `prepare` gives a plugin (`seam_prepare`).
public struct PreparationInput {
    /// As the seam defines them, all examples along the batch axis; nil for a prefix that is not there.
    var inputs: [Tensor?]
    /// Index among the adapter's own points; nil at a seam that has none.
    var point: Int?
    /// At a point: which are tokens and which the model generated itself, [examples, n] i32; nil: not known.
    var tokens: Tensor?
    var generated: Tensor?
    /// [examples] i32, the class of each; nil where there are no classes.
    var labels: Tensor?
    /// decoder.output: the scores for an empty text; nil where they are not known.
    var emptyScores: Tensor?

    public init(
        inputs: [Tensor?], point: Int? = nil, tokens: Tensor? = nil, generated: Tensor? = nil, labels: Tensor? = nil,
        emptyScores: Tensor? = nil
    ) {
        (self.inputs, self.point) = (inputs, point)
        (self.tokens, self.generated) = (tokens, generated)
        (self.labels, self.emptyScores) = (labels, emptyScores)
    }
}

extension Adapter {
    /// Whether the plugin wants `prepare` before a training.
    public var startsFromExamples: Bool { table.prepare != nil }

    /// Whether `prepare` gives it examples or a text: not on prefix.tokens, where it starts from the prefix before it.
    var readsExamples: Bool { startsFromExamples && seam != SEAM_PREFIX_TOKENS }

    /// Lets an adapter on encoder.output or decoder.output start from the training examples
    /// (`seam_adapter_factory.prepare`): before the first step of a training that starts from new. An adapter that starts
    /// from nothing is left as it is.
    ///
    /// Either every value that the plugin gives is taken or, after an error, none.
    /// - Parameters:
    ///   - inputs: as the seam defines them, all training examples along the batch axis.
    ///   - labels: [examples] i32, the class of each; nil where there are no classes.
    ///   - emptyScores: decoder.output: the scores [1, classes] f32 for an empty text; nil where they are not known.
    /// - Throws: what the plugin failed with; `.plugin` or `.numeric`, with the plugin's id, for a value that is not f32
    ///   of its parameter's shape or not finite.
    public func prepare(inputs: [Tensor], labels: Tensor? = nil, emptyScores: Tensor? = nil) throws {
        guard startsFromExamples else { return }
        take(
            prepared: try preparedValues(PreparationInput(inputs: inputs, labels: labels, emptyScores: emptyScores)))
    }

    /// Calls the plugin's `prepare` once.
    /// - Returns: a copy of the value that it gives for each parameter; nil for one that it leaves.
    func preparedValues(_ input: PreparationInput) throws -> [Tensor?] {
        let context = Context(pool: runtime.pool, recordsGradients: false)
        let inputHandles: [OpaquePointer?] = input.inputs.map { $0?.handle }
        var values = [OpaquePointer?](repeating: nil, count: parameters.entries.count)
        var io = seam_prepare()
        io.struct_size = UInt32(MemoryLayout<seam_prepare>.size)
        io.point = input.point.map(Int64.init) ?? -1
        io.labels = input.labels?.handle
        io.empty_scores = input.emptyScores?.handle
        context.withPass(parameters.handles) { pass in
            var given = pass.pointee
            (given.attention_mask, given.generated_mask) = (input.tokens?.handle, input.generated?.handle)
            inputHandles.withUnsafeBufferPointer { inputs in
                values.withUnsafeMutableBufferPointer { values in
                    io.inputs = inputs.baseAddress
                    io.input_count = inputs.count
                    io.values = values.baseAddress
                    io.value_count = values.count
                    table.prepare?(instance, &given, &io)
                }
            }
        }
        try withExtendedLifetime(input) { try context.check(origin: origin) }
        return try copies(of: values, in: context)
    }

    /// Takes what `preparedValues` gave.
    func take(prepared values: [Tensor?]) {
        take(values)
        isPrepared = true
    }

    /// Lets an adapter start from what flows into its seam, or at one of its points, and is not known to be of that kind.
    ///
    /// At a seam that has points there is a call for each, in their order, and the last of them takes the values of all.
    /// Either every value that the plugin gives is taken or, after an error, none; point 0 begins anew.
    /// - Throws: `.invalidArgument` for a point that the adapter is not on or that is not the next one, and at a point for
    ///   classes that `checkClasses` refuses; `.shape` for inputs, masks, labels or scores of other shapes; else as the other
    ///   form.
    public func prepare(checking given: PreparationInput) throws {
        guard startsFromExamples else { return }
        let before = startingValues
        startingValues = nil
        let point = try index(ofPoint: given.point.map(Int64.init) ?? -1)
        let next = before?.next ?? 0
        guard point == nil || point == 0 || point == next else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(factory.id)\" starts at its points one by one, in their order: the next one is \(next), found \(point!)"
            )
        }
        try checkInputs(given.inputs, at: point, phase: Phase.after)
        let first = given.inputs.first.flatMap(\.self)?.shape
        let rows = isPrefix ? 1 : first?[0] ?? 0
        let positions = point == nil ? Shape() : first.map { Shape($0.prefix(2)) } ?? Shape()
        let checks: [(String, Tensor?, DType, Shape)] = [
            ("labels", given.labels, .i32, [rows]),
            ("empty_scores", given.emptyScores, .f32, Shape([1] + promptAxis + [classes])),
            ("attention_mask", given.tokens, .i32, positions), ("generated_mask", given.generated, .i32, positions),
        ]
        for (name, tensor, dtype, shape) in checks {
            guard let tensor, tensor.dtype != dtype || tensor.shape != shape else { continue }
            throw SeamError(
                .shape,
                "adapter \"\(factory.id)\": \(name) must be \(dtype.name) \(shape), found \(tensor.dtype.name) \(tensor.shape)",
                origin: origin)
        }
        if point != nil, let labels = given.labels { try checkClasses(labels.integers, of: rows) }
        var values = try preparedValues(given)
        guard let point else { return take(prepared: values) }
        // Of several for one parameter the last.
        if point > 0, let before { values = zip(values, before.values).map { $0 ?? $1 } }
        guard point == points.count - 1 else {
            startingValues = (point + 1, values)
            return
        }
        take(prepared: values)
    }

    /// Throws `.invalidArgument` unless classes are those of all examples, from 0 on and each with an example.
    func checkClasses(_ found: [Int32], of count: Int) throws {
        guard found.count == count else {
            throw SeamError(
                .invalidArgument, "all examples must have a class or none, found \(found.count) of \(count)")
        }
        let limit = classes > 0 ? classes : count
        if let index = found.firstIndex(where: { $0 < 0 || Int($0) >= limit }) {
            throw SeamError(
                .invalidArgument,
                classes > 0
                    ? "the class of example \(index) must be 0 ... \(classes - 1), found \(found[index])"
                    : "classes are numbered from 0 and each has an example, found \(found[index]) among \(count) examples"
            )
        }
        let present = Set(found)
        let most = classes > 0 ? classes : Int(found.max() ?? 0) + 1
        if let missing = (0..<most).first(where: { !present.contains(Int32($0)) }) {
            throw SeamError(.invalidArgument, "every class needs an example, and class \(missing) has none")
        }
    }

    /// Takes values that the plugin gave for the parameters, in their order; NULL leaves one as it is. All or none.
    func assign(_ values: [OpaquePointer?], in context: Context) throws { take(try copies(of: values, in: context)) }

    /// Copies of what the plugin gave for the parameters, since a value may be a view of an input or of another parameter.
    private func copies(of values: [OpaquePointer?], in context: Context) throws -> [Tensor?] {
        try zip(parameters.entries, values).map { entry, handle in
            try handle.map {
                try copied(Tensor.from($0), as: entry.tensor.shape, "parameter \"\(entry.name)\"", in: context)
            }
        }
    }

    private func take(_ copies: [Tensor?]) {
        for case (let entry, let copy?) in zip(parameters.entries, copies) {
            memcpy(entry.tensor.baseAddress, copy.baseAddress, copy.elementCount * 4)
        }
    }

    /// A copy of values that the plugin gave to be kept.
    /// - Parameter what: "parameter "x"", for a sentence.
    /// - Throws: `.plugin` for another dtype or shape, `.numeric` for NaN or infinity among them.
    func copied(_ value: Tensor, as shape: Shape, _ what: String, in context: Context) throws -> Tensor {
        guard value.dtype == .f32, value.shape == shape else {
            throw SeamError(
                .plugin,
                "adapter \"\(factory.id)\" must give \(what) as f32 \(shape), found \(value.dtype.name) \(value.shape)",
                origin: origin)
        }
        let copy = try context.copied(value)
        if let position = NativeEngine.firstNonFinite(copy.baseAddress, .f32, count: copy.elementCount) {
            throw SeamError(
                .numeric,
                "adapter \"\(factory.id)\" gives \(what) NaN or infinity at element \(position)",
                origin: origin)
        }
        return copy
    }
}
