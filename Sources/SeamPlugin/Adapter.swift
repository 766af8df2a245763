import CSeam

/// A trainable block on a seam of a backbone. A conforming type is the whole method; `AdapterFactory`
/// turns it into the C table that the host reads.
public protocol Adapter: AnyObject {
    /// What users see. Read once, when the library is loaded.
    static var descriptor: AdapterDescriptor { get }

    /// Makes the adapter for a place in a backbone, or throws a sentence for the user. Best a `convenience init` that does
    /// what may throw before `self.init`: Embedded Swift 6.3 does not give back an object whose own init throws midway.
    init(options: Options, site: Site) throws(PluginError)

    /// What the host stores, trains and saves. Read once, after `init`.
    var parameters: [Parameter] { get }

    /// From what flows into the seam to what flows out of it; the seam's description says how many
    /// tensors of which shapes (`Seam`).
    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor]

    /// Values to start from that depend on the training examples, before the first step of a new training. Called
    /// where the descriptor says `prepares`.
    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)]

    /// The values of the parameters that this adapter has with the option "folded", in their order: the same outputs
    /// without what only training needs. Called where the descriptor says `folds`, on adapters that are not folded.
    func fold(in context: Context) -> [Tensor]
}

/// All training examples at once, as they flow into a seam.
public struct Examples {
    /// As the seam defines, all examples along the batch axis.
    public let inputs: [Tensor]
    /// [examples] i32, the class of each; nil where there are no classes.
    public let labels: Tensor?
    /// decoder.output: the backbone's scores [1, classes] for an empty text.
    public let emptyScores: Tensor?
}

extension Adapter {
    public func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] { [] }

    public func fold(in context: Context) -> [Tensor] { [] }

    /// The C side of `init`; see `AdapterFactory`.
    public static func create(
        _ host: UnsafePointer<seam_host>?, _ options: OpaquePointer?, _ site: UnsafePointer<seam_site>?,
        _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
    ) -> seam_status {
        guard let host = compatible(host), let options, let site, let out, site.pointee.struct_size >= Version1.site
        else { return Status.incompatible.rawValue }
        do throws(PluginError) {
            let options = Options(host: host, raw: options, kind: "the option")
            let instance = AdapterInstance(try Self(options: options, site: Site(site)))
            out.pointee = Unmanaged.passRetained(instance).toOpaque()
            return Status.ok.rawValue
        } catch let failure {
            return report(failure, host, error)
        }
    }

    /// The body of a method that gives a tensor: finds the adapter that it was called on. Null after a
    /// failure.
    public static func call(
        _ call: UnsafePointer<seam_method_call>?, _ body: (Self, Context) -> Tensor
    ) -> OpaquePointer? {
        enter(call) { body($0, $1).handle } ?? nil
    }

    /// The body of a method that gives a number; NaN when the host's call is incomplete.
    public static func call(_ call: UnsafePointer<seam_method_call>?, _ body: (Self, Context) -> Double) -> Double {
        enter(call, body) ?? .nan
    }

    /// The body of a method that takes a tensor and gives one. Null after a failure.
    public static func call(
        _ call: UnsafePointer<seam_method_call>?, _ argument: OpaquePointer?, _ body: (Self, Tensor, Context) -> Tensor
    ) -> OpaquePointer? {
        enter(call) { body($0, $1.pass.tensor(argument), $1).handle } ?? nil
    }

    private static func enter<Result>(
        _ call: UnsafePointer<seam_method_call>?, _ body: (Self, Context) -> Result
    ) -> Result? {
        guard let call, call.pointee.struct_size >= Version1.call, let pass = Pass(call.pointee.ops, call.pointee.ctx)
        else { return nil }
        let adapter = unsafeDowncast(AdapterInstance.at(call.pointee.`self`).adapter, to: Self.self)
        return body(adapter, Context(pass, parameters: call.pointee.parameters, count: call.pointee.parameter_count))
    }
}

/// The C table of one adapter type:
///
///     AdapterFactory(RepCali.self) { RepCali.create($0, $1, $2, $3, $4) }
///
/// The closure is spelled out because `create` is a C function without a pointer to the plugin's data,
/// and a C function cannot be made from a generic one.
public struct AdapterFactory {
    public typealias Create = @convention(c) (
        UnsafePointer<seam_host>?, OpaquePointer?, UnsafePointer<seam_site>?,
        UnsafeMutablePointer<UnsafeMutableRawPointer?>?, UnsafeMutablePointer<OpaquePointer?>?
    ) -> seam_status

    let table: UnsafePointer<seam_adapter_factory>?

    public init<A: Adapter>(_ type: A.Type, create: Create) {
        let descriptor = A.descriptor
        var factory = seam_adapter_factory()
        factory.struct_size = UInt32(MemoryLayout<seam_adapter_factory>.size)
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
        factory.forward = { AdapterInstance.at($0).forward($1) }
        if descriptor.prepares { factory.prepare = { AdapterInstance.at($0).prepare($1) } }
        if descriptor.folds { factory.fold = { AdapterInstance.at($0).fold($1) } }
        table = permanent(factory)
    }
}

/// What the host holds as `self`: the adapter behind one class, so that the C functions above serve
/// every adapter type.
final class AdapterInstance {
    let adapter: any Adapter
    let parameters: [Parameter]

    init(_ adapter: any Adapter) {
        self.adapter = adapter
        parameters = adapter.parameters
        Parameter.number(parameters)
    }

    static func at(_ pointer: UnsafeMutableRawPointer?) -> AdapterInstance {
        Unmanaged<AdapterInstance>.fromOpaque(pointer!).takeUnretainedValue()
    }

    func forward(_ io: UnsafePointer<seam_forward>?) {
        guard let io, io.pointee.struct_size >= Version1.forward, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let context = Context(
            pass, parameters: io.pointee.parameters, count: io.pointee.parameter_count,
            training: io.pointee.training != 0)
        let inputs = (0..<io.pointee.input_count).map { pass.tensor(io.pointee.inputs[$0]) }
        let outputs = adapter.forward(inputs, in: context)
        guard outputs.count == io.pointee.output_count else {
            _ = context.fail(.plugin, "\(outputs.count) outputs where the seam has \(io.pointee.output_count)")
            return
        }
        for (index, output) in outputs.enumerated() { io.pointee.outputs[index] = output.handle }
    }

    func prepare(_ io: UnsafePointer<seam_prepare>?) {
        guard let io, io.pointee.struct_size >= Version1.prepare, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let context = Context(pass, parameters: io.pointee.parameters, count: io.pointee.parameter_count)
        let examples = Examples(
            inputs: (0..<io.pointee.input_count).map { pass.tensor(io.pointee.inputs[$0]) },
            labels: io.pointee.labels.map(pass.tensor), emptyScores: io.pointee.empty_scores.map(pass.tensor))
        for (parameter, value) in adapter.prepare(examples, in: context) {
            guard parameters.contains(where: { $0 === parameter }) else {
                _ = context.fail(.plugin, "the parameter '\(parameter.name)' is prepared but not listed in `parameters`")
                return
            }
            io.pointee.values[parameter.index] = value.handle
        }
    }

    func fold(_ io: UnsafePointer<seam_fold>?) {
        guard let io, io.pointee.struct_size >= Version1.fold, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let context = Context(pass, parameters: io.pointee.parameters, count: io.pointee.parameter_count)
        let values = adapter.fold(in: context)
        guard values.count == io.pointee.value_count else {
            _ = context.fail(
                .plugin, "\(values.count) folded values where the folded adapter has \(io.pointee.value_count)")
            return
        }
        for (index, value) in values.enumerated() { io.pointee.values[index] = value.handle }
    }
}
