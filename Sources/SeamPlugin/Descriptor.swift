import CSeam

/// An option that users may set, with its type, default and allowed values. The host refuses unknown
/// keys and wrong values before the plugin sees them.
public struct Option {
    let table: UnsafePointer<seam_option>?

    public static func bool(_ name: StaticString, default value: Bool, _ doc: StaticString) -> Option {
        Option(SEAM_OPTION_BOOL, name, value ? "true" : "false", doc)
    }
    /// `value` as written in JSON: "30".
    public static func int(
        _ name: StaticString, default value: StaticString, in range: ClosedRange<Double>? = nil, _ doc: StaticString
    ) -> Option {
        Option(SEAM_OPTION_INT, name, value, doc, range: range)
    }
    /// `value` as written in JSON: "1.0".
    public static func double(
        _ name: StaticString, default value: StaticString, in range: ClosedRange<Double>? = nil, _ doc: StaticString
    ) -> Option {
        Option(SEAM_OPTION_DOUBLE, name, value, doc, range: range)
    }
    /// `value` as written in JSON, with its quotes; `choices` joined by '|'.
    public static func string(
        _ name: StaticString, default value: StaticString, choices: StaticString? = nil, _ doc: StaticString
    ) -> Option {
        Option(SEAM_OPTION_STRING, name, value, doc, choices: choices)
    }

    private init(
        _ kind: Int, _ name: StaticString, _ value: StaticString, _ doc: StaticString,
        choices: StaticString? = nil, range: ClosedRange<Double>? = nil
    ) {
        var option = seam_option()
        option.struct_size = UInt32(MemoryLayout<seam_option>.size)
        option.kind = seam_option_kind(kind)
        option.name = name.cString
        option.default_value = value.cString
        option.choices = choices?.cString
        option.minimum = range?.lowerBound ?? 0
        option.maximum = range?.upperBound ?? 0
        option.doc = doc.cString
        table = permanent(option)
    }
}

/// A function of the plugin's own that users call by name, from the command line, C or Python.
public struct Method {
    let table: UnsafePointer<seam_method>?

    public typealias TensorFunction =
        @convention(c) (
            UnsafeMutableRawPointer?, UnsafePointer<seam_pass>?
        ) -> OpaquePointer?
    public typealias NumberFunction = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<seam_pass>?) -> Double
    public typealias MapFunction =
        @convention(c) (
            UnsafeMutableRawPointer?, UnsafePointer<seam_pass>?, OpaquePointer?
        ) -> OpaquePointer?

    /// A method without arguments that gives a tensor. The function is one line, because a C function
    /// cannot be generic: `{ MyAdapter.call($0, $1) { adapter, context in ... } }`.
    /// `recorded`: trainers keep its values over the steps, and plot them.
    public static func tensor(
        _ name: StaticString, _ doc: StaticString, recorded: Bool = false, _ function: TensorFunction
    ) -> Method {
        Method(
            name, "seam_tensor *(void *, const seam_pass *)", doc, unsafeBitCast(function, to: Address.self),
            flags: recorded ? UInt32(SEAM_METHOD_RECORDED) : 0)
    }
    /// A method without arguments that gives a number.
    public static func number(_ name: StaticString, _ doc: StaticString, _ function: NumberFunction) -> Method {
        Method(name, "double (void *, const seam_pass *)", doc, unsafeBitCast(function, to: Address.self))
    }

    /// A method that takes one tensor and gives another: `{ MyAdapter.call($0, $1, $2) { adapter, x, context in ... }
    /// }`.
    public static func map(_ name: StaticString, _ doc: StaticString, _ function: MapFunction) -> Method {
        Method(
            name, "seam_tensor *(void *, const seam_pass *, seam_tensor *)", doc,
            unsafeBitCast(function, to: Address.self))
    }

    private typealias Address = @convention(c) () -> Void

    private init(
        _ name: StaticString, _ signature: StaticString, _ doc: StaticString, _ function: Address, flags: UInt32 = 0
    ) {
        var method = seam_method()
        method.struct_size = UInt32(MemoryLayout<seam_method>.size)
        method.flags = flags
        method.name = name.cString
        method.signature = signature.cString
        method.doc = doc.cString
        method.function = function
        table = permanent(method)
    }
}

/// The seams of version 1.0.
public enum Seam {
    /// Inputs: hidden [batch, source, d_model] and mask [batch, source] (i32; 1 a token, 0 padding).
    /// One output: hidden of the same shape.
    public static let encoderOutput: StaticString = "encoder.output"
    /// Inputs: scores [batch, classes], the backbone's for each class, and hidden [batch, d_model], its state where
    /// the answer stands. One output: scores of the same shape.
    public static let decoderOutput: StaticString = "decoder.output"
    /// Inputs and outputs: one for each `PrefixAttention`, keys and values [layers, 2, kv heads, prefix, head_dim] that
    /// stand before the tokens', or none. Inputs: what the adapter before gave.
    public static let attentionPrefix: StaticString = "attention.prefix"
    /// Inputs: what has left `attentionPrefix`. Outputs of the same shapes.
    public static let prefixTokens: StaticString = "prefix.tokens"
    /// At points, one for each layer. Input: hidden [batch, n, d_model] as it leaves a layer. One output of its shape.
    public static let layerOutput: StaticString = "layer.output"
    /// At points, one for each matrix of a layer, y = x weight^T + bias. Inputs before its product: x [batch, n, in],
    /// weight [out, in] and bias [out] or none; one output, what is projected instead of x. Inputs after it: the same
    /// and y [batch, n, out]; one output, what goes on instead of y.
    public static let projection: StaticString = "projection"
    /// At points, one for each stack: its embedded tokens, before its first layer. Inputs: x [batch, n, d_model] and mask
    /// [batch, n] (i32; 1 a token, 0 padding). Outputs: vectors [1 or batch, prompt, d_model] that are put before those of
    /// the text, or none, and x changed, or none for x as it is. The number of vectors is the same in every call.
    public static let promptEmbedding: StaticString = "prompt.embedding"
}

/// The attentions that can be given a prefix, in the order of the seams' inputs and outputs.
public enum PrefixAttention: Int, CaseIterable {
    /// Of an encoder over its own tokens, of a decoder over its own, of a decoder over the encoder's.
    case encoder = 0
    case decoder = 1
    case cross = 2
}

/// What users see of an adapter before they attach it.
public struct AdapterDescriptor {
    let id, summary: StaticString
    let seams: [StaticString]
    let options: [Option]
    let methods: [Method]
    let folds, prepares, foldsWeight, readsPrompts: Bool
    let defaultTargets: StaticString?

    /// `id`: what users type. `summary`: one sentence, with the paper. `seams`: those it can attach to;
    /// the first is the default. `folds`: it has `Adapter.fold`, and with it the option "folded".
    /// `prepares`: it has `Adapter.prepare`, and a training starts with that. `defaultTargets`: the projections that it
    /// attaches to where a user names none, joined by '|'; nil: all. `foldsWeight`: it has `Adapter.foldWeight`.
    /// `readsPrompts`: at `Seam.decoderOutput` it reads several prompts about each text.
    public init(
        id: StaticString, summary: StaticString, seams: [StaticString], options: [Option] = [], methods: [Method] = [],
        folds: Bool = false, prepares: Bool = false, defaultTargets: StaticString? = nil, foldsWeight: Bool = false,
        readsPrompts: Bool = false
    ) {
        (self.id, self.summary, self.seams, self.methods) = (id, summary, seams, methods)
        (self.folds, self.prepares, self.foldsWeight) = (folds, prepares, foldsWeight)
        (self.defaultTargets, self.readsPrompts) = (defaultTargets, readsPrompts)
        let folded = Option.bool(
            "folded", default: false, "Without what only training needs, as adapters are saved; set by saving.")
        self.options = options + (folds ? [folded] : [])
    }
}

/// What users see of a kind of backbone before they open a model with it.
public struct BackboneDescriptor {
    let id, summary: StaticString
    let options: [Option]

    public init(id: StaticString, summary: StaticString, options: [Option] = []) {
        (self.id, self.summary, self.options) = (id, summary, options)
    }

    /// A table with this description, which has its functions still to come.
    var factory: seam_backbone_factory {
        var factory = seam_backbone_factory()
        factory.struct_size = UInt32(MemoryLayout<seam_backbone_factory>.size)
        factory.id = id.cString
        factory.summary = summary.cString
        factory.options = permanent(options.map { $0.table })
        factory.option_count = options.count
        return factory
    }
}
