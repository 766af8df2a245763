import CSeam

/// A trainable block on a seam of a backbone. A conforming type is the whole method; `AdapterFactory`
/// turns it into the C table that the host reads.
public protocol Adapter: AnyObject {
    /// What users see. Read once, when the library is loaded.
    static var descriptor: AdapterDescriptor { get }

    /// Makes the adapter for a place in a backbone, or throws a sentence for the user. Best a `convenience init` that
    /// does what may throw before `self.init`: Embedded Swift 6.3 does not give back an object whose own init throws
    /// midway.
    init(options: Options, site: Site) throws(PluginError)

    /// What the host stores, trains and saves. Read once, after `init`.
    var parameters: [Parameter] { get }

    /// Computes what flows out of the seam from what flows into it; the seam's description says how many
    /// tensors of which shapes (`Seam`). At a seam inside the layers the context says at which point.
    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor]

    /// Values to start from that depend on the training examples, before the first step of a new training. Called
    /// where the descriptor says `prepares`, at a seam inside the layers once for each point, in their order: all values
    /// are taken after the last call.
    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)]

    /// The values of the parameters that this adapter has with the option "folded", in their order: the same outputs
    /// without what only training needs. Called where the descriptor says `folds`, on adapters that are not folded.
    func fold(in context: Context) -> [Tensor]

    /// When it wants what flows through a point of the seam "projection", by its index in `Site.points`. Asked once.
    func phases(at point: Int) -> Phases

    /// What a projection's matrix [out, in] and bias [out] become, so that y = x weight^T + bias gives what this
    /// adapter gave at `context.point`; nil for a bias that stays. Called where the descriptor says `foldsWeight`.
    func foldWeight(_ weight: Tensor, bias: Tensor?, in context: Context) -> (weight: Tensor, bias: Tensor?)
}

/// All training examples at once, as they flow into a seam; those of `Context.attentionMask` are the tokens at a point.
public struct Examples {
    /// The seam's inputs, all examples along the batch axis; at a projection those after its product. On
    /// `Seam.attentionPrefix` the keys and values of one text, [2, kv heads, n, head_dim], a null tensor for none.
    public let inputs: [Tensor]
    /// The index in `Site.points` of the point that they flow through; -1 at other seams.
    public let point: Int
    /// [examples] i32, the class of each; nil where there are no classes.
    public let labels: Tensor?
    /// decoder.output: the backbone's scores [1, classes] for an empty text, or [1, prompts, classes].
    public let emptyScores: Tensor?
}

extension Adapter {
    public func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] { [] }

    public func fold(in context: Context) -> [Tensor] { [] }

    public func phases(at point: Int) -> Phases { .after }

    public func foldWeight(_ weight: Tensor, bias: Tensor?, in context: Context) -> (weight: Tensor, bias: Tensor?) {
        (context.fail(.unsupported, "it is not folded into a weight"), nil)
    }

    /// The C side of `init`; see `AdapterFactory`.
    public static func create(
        _ host: UnsafePointer<seam_host>?, _ options: OpaquePointer?, _ site: UnsafePointer<seam_site>?,
        _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
    ) -> seam_status {
        guard let host = compatible(host), let options, let site = Site(site), let out
        else { return Status.incompatible.rawValue }
        do throws(PluginError) {
            let options = Options(host: host, raw: options, kind: "the option")
            let instance = AdapterInstance(try Self(options: options, site: site), points: site.points.count)
            out.pointee = Unmanaged.passRetained(instance).toOpaque()
            return Status.ok.rawValue
        } catch let failure {
            return report(failure, host, error)
        }
    }

    /// The body of a method that gives a tensor: finds the adapter that it was called on. Null after a
    /// failure.
    public static func call(
        _ instance: UnsafeMutableRawPointer?, _ pass: UnsafePointer<seam_pass>?, _ body: (Self, Context) -> Tensor
    ) -> OpaquePointer? {
        enter(instance, pass) { body($0, $1).handle } ?? nil
    }

    /// The body of a method that gives a number; NaN when the host's pass is incomplete.
    public static func call(
        _ instance: UnsafeMutableRawPointer?, _ pass: UnsafePointer<seam_pass>?, _ body: (Self, Context) -> Double
    ) -> Double {
        enter(instance, pass, body) ?? .nan
    }

    /// The body of a method that takes a tensor and gives one. Null after a failure.
    public static func call(
        _ instance: UnsafeMutableRawPointer?, _ pass: UnsafePointer<seam_pass>?, _ argument: OpaquePointer?,
        _ body: (Self, Tensor, Context) -> Tensor
    ) -> OpaquePointer? {
        enter(instance, pass) { body($0, $1.pass.tensor(argument), $1).handle } ?? nil
    }

    private static func enter<Result>(
        _ instance: UnsafeMutableRawPointer?, _ pass: UnsafePointer<seam_pass>?, _ body: (Self, Context) -> Result
    ) -> Result? {
        guard let context = Context(pass) else { return nil }
        return body(unsafeDowncast(AdapterInstance.at(instance).adapter, to: Self.self), context)
    }
}

/// The C table of one adapter type:
///
///     AdapterFactory(RepCali.self) { RepCali.create($0, $1, $2, $3, $4) }
///
/// The closure is spelled out because `create` is a C function without a pointer to the plugin's data,
/// and a C function cannot be made from a generic one.
public struct AdapterFactory {
    public typealias Create =
        @convention(c) (
            UnsafePointer<seam_host>?, OpaquePointer?, UnsafePointer<seam_site>?,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?, UnsafeMutablePointer<OpaquePointer?>?
        ) -> seam_status

    let table: UnsafePointer<seam_adapter_factory>?

    public init<A: Adapter>(_ type: A.Type, create: Create) {
        let descriptor = A.descriptor
        var factory = seam_adapter_factory()
        factory.struct_size = UInt32(MemoryLayout<seam_adapter_factory>.size)
        factory.reads_prompts = descriptor.readsPrompts ? 1 : 0
        factory.id = descriptor.id.cString
        factory.summary = descriptor.summary.cString
        factory.seams = permanent(descriptor.seams.map { $0.cString })
        factory.seam_count = descriptor.seams.count
        factory.options = permanent(descriptor.options.map { $0.table })
        factory.option_count = descriptor.options.count
        factory.methods = permanent(descriptor.methods.map { $0.table })
        factory.method_count = descriptor.methods.count
        factory.create = create
        factory.destroy = { Unmanaged<AdapterInstance>.fromOpaque($0!).release() }
        factory.parameter_count = { AdapterInstance.at($0).parameters.count }
        factory.parameter = { AdapterInstance.at($0).parameters[$1].describe($2!) }
        factory.forward = { AdapterInstance.at($0).forward($1, $2) }
        if descriptor.prepares { factory.prepare = { AdapterInstance.at($0).prepare($1, $2) } }
        if descriptor.folds { factory.fold = { AdapterInstance.at($0).fold($1, $2) } }
        factory.default_targets = descriptor.defaultTargets?.cString
        factory.phases = { AdapterInstance.at($0).phases($1) }
        if descriptor.foldsWeight { factory.fold_weight = { AdapterInstance.at($0).foldWeight($1, $2) } }
        table = permanent(factory)
    }
}

/// What the host holds as `self`: the adapter behind one class, so that the C functions above serve
/// every adapter type.
final class AdapterInstance {
    let adapter: any Adapter
    let parameters: [Parameter]
    /// How many it is attached to; 0 at a seam that has none.
    private let points: Int

    init(_ adapter: any Adapter, points: Int) {
        (self.adapter, self.points) = (adapter, points)
        parameters = adapter.parameters
        Parameter.number(parameters)
    }

    static func at(_ pointer: UnsafeMutableRawPointer?) -> AdapterInstance {
        Unmanaged<AdapterInstance>.fromOpaque(pointer!).takeUnretainedValue()
    }

    /// The context of a pass at a point. Nil, with the failure latched, for one where the adapter is not.
    private func context(_ pass: UnsafePointer<seam_pass>?, _ point: Int64, _ phase: seam_phases = 0) -> Context? {
        guard let context = Context(pass, point: Int(point), phase: Phases(rawValue: phase)) else { return nil }
        guard points == 0 ? point == -1 : point >= 0 && point < points else {
            _ = context.fail(.invalidArgument, "it is asked at point \(point), and it is attached to \(points)")
            return nil
        }
        return context
    }

    func phases(_ point: Int) -> seam_phases {
        point >= 0 && point < points ? adapter.phases(at: point).rawValue : Phases.after.rawValue
    }

    func forward(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafePointer<seam_forward>?) {
        guard let io = bounded(io, SEAM_FORWARD_SIZE_1_0), let context = context(pass, io.point, io.phase) else {
            return
        }
        let inputs = (0..<io.input_count).map { context.pass.tensor(io.inputs[$0]) }
        let outputs = adapter.forward(inputs, in: context)
        guard outputs.count == io.output_count else {
            _ = context.fail(.plugin, "\(outputs.count) outputs where the seam has \(io.output_count)")
            return
        }
        for (index, output) in outputs.enumerated() { io.outputs[index] = output.handle }
    }

    func prepare(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafePointer<seam_prepare>?) {
        // The pass has all parameters, so that its context is of no point.
        guard let io = bounded(io, SEAM_PREPARE_SIZE_1_0), context(pass, io.point) != nil, let context = Context(pass)
        else { return }
        let tensor = context.pass.tensor
        let examples = Examples(
            inputs: (0..<io.input_count).map { tensor(io.inputs[$0]) }, point: Int(io.point),
            labels: io.labels.map(tensor), emptyScores: io.empty_scores.map(tensor))
        for (parameter, value) in adapter.prepare(examples, in: context) {
            guard parameters.contains(where: { $0 === parameter }), parameter.index < io.value_count else {
                _ = context.fail(
                    .plugin, "the parameter '\(parameter.name)' is prepared but not listed in `parameters`")
                return
            }
            io.values[parameter.index] = value.handle
        }
    }

    func fold(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafePointer<seam_fold>?) {
        guard let io = bounded(io, SEAM_FOLD_SIZE_1_0), let context = Context(pass) else { return }
        let values = adapter.fold(in: context)
        guard values.count == io.value_count else {
            _ = context.fail(.plugin, "\(values.count) folded values where the folded adapter has \(io.value_count)")
            return
        }
        for (index, value) in values.enumerated() { io.values[index] = value.handle }
    }

    func foldWeight(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_fold_weight>?) {
        guard let io, let given = bounded(io, SEAM_FOLD_WEIGHT_SIZE_1_0),
            let context = context(pass, given.point)
        else { return }
        let tensor = context.pass.tensor
        let folded = adapter.foldWeight(tensor(given.weight), bias: given.bias.map(tensor), in: context)
        io.pointee.folded_weight = folded.weight.handle
        io.pointee.folded_bias = folded.bias?.handle
    }
}
