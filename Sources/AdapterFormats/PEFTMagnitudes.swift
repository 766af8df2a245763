import Engine
import SeamHost
import Support

/// The lengths of rows that DoRA learns. PEFT keeps them whole, m; an adapter `lora`, which is made without the weights,
/// keeps what is added to the lengths of the model's own rows, m - ||W||. Either is found from the other with the weights
/// of the backbone.
enum PEFTMagnitudes {
    /// What the name of a module's lengths ends in, in files of PEFT.
    static let ending = "lora_magnitude_vector"
    /// The adapter's parameter at a point.
    static let parameter = "lora_magnitude_change"

    /// Whether a LoRA adapter has lengths of its own.
    static func has(_ adapter: Adapter) -> Bool { adapter.options.json["use_dora"]?.boolValue == true }

    /// Makes the adapter's parameter of PEFT's lengths, the last tensor of a module.
    static func subtractOwn(from module: inout ModuleTensors, of backbone: Backbone) throws {
        let own = try lengths(at: module.point, of: backbone)
        let whole = module.tensors.removeLast()
        module.tensors.append(
            PEFTFolder.Tensor(name: parameter, shape: whole.shape, values: zip(whole.values, own).map { $0 - $1 }))
    }

    /// PEFT's lengths of the values of the adapter's parameter at a point.
    static func addOwn(to changes: [Float], at point: Point, of backbone: Backbone) throws -> [Float] {
        try zip(changes, lengths(at: point, of: backbone)).map { $0 + $1 }
    }

    /// ||W|| [out] of the matrix at a point, by the operations with which the adapter itself finds it, so that their sum
    /// there is m to the last bit.
    private static func lengths(at point: Point, of backbone: Backbone) throws -> [Float] {
        guard let name = point.weightParameter, let weight = backbone.parameters[name] else {
            throw SeamError(
                .unsupported,
                "the matrix of \"\(point.path)\" is no parameter of the backbone: the lengths of its rows, from which PEFT's count, are not known"
            )
        }
        let context = Context(pool: backbone.runtime.pool, recordsGradients: false)
        let rows = try context.cast(point.isTransposed ? try context.permute(weight, [1, 0]) : weight, to: .f32)
        return try context.unary(
            .sqrt, try context.sum(try context.unary(.square, rows), axis: -1, keep: false)
        ).floats
    }
}
