import Files
import SeamHost
import Support

/// What another program's file holds of one projection, for an adapter inside the layers.
struct ModuleTensors {
    let point: Point
    /// As the other program calls it.
    let path: String
    /// Under the names of the adapter's parameters at a point.
    var tensors: [PEFTFolder.Tensor]

    /// Gives the two matrices of LoRA, lora_A [r, in] and lora_B [out, r], one rank and one scale at all modules, which an
    /// adapter `lora` has: the largest rank, and a scale of 1, with each module's own in its B. Rows and columns that are
    /// added are zeros, and stay so in training: neither matrix gets a gradient through the other's. What a module has
    /// behind the two stays as it is.
    /// - Parameter scales: of each module's product.
    /// - Returns: the adapter's options.
    static func unify(_ modules: inout [ModuleTensors], scales: [Double]) -> JSON {
        let most = modules.map { $0.tensors[0].shape[0] }.max() ?? 1
        for index in modules.indices {
            let (a, b, others) = (
                modules[index].tensors[0], modules[index].tensors[1], modules[index].tensors.dropFirst(2)
            )
            let (own, scale) = (a.shape[0], Float(scales[index]))
            let (input, output) = (a.shape[1], b.shape[0])
            let padding = [Float](repeating: 0, count: most - own)
            modules[index].tensors =
                [
                    PEFTFolder.Tensor(
                        name: a.name, shape: [most, input],
                        values: a.values + [Float](repeating: 0, count: (most - own) * input)),
                    PEFTFolder.Tensor(
                        name: b.name, shape: [output, most],
                        values: (0..<output).flatMap { row in
                            b.values[row * own..<(row + 1) * own].map { $0 * scale } + padding
                        }),
                ] + others
        }
        return ["r": .int(Int64(most)), "lora_alpha": .double(Double(most)), "use_rslora": false]
    }

    /// An adapter with the values of another program's at its points.
    /// - Parameters:
    ///   - id: of the adapter here.
    ///   - format: "PEFT's LoRA", for the sentence.
    /// - Throws: `.incompatible` where the plugin keeps other parameters.
    static func adapter(
        _ id: String, _ options: JSON, with modules: [ModuleTensors], of format: String, for backbone: Backbone
    ) throws -> Adapter {
        let adapter = try Adapter(backbone: backbone, id: id, options: options, points: modules.map(\.point.path))
        for module in modules {
            for tensor in module.tensors {
                let name = "\(module.point.path).\(tensor.name)"
                guard let parameter = adapter.parameters[name], parameter.shape.elementsEqual(tensor.shape) else {
                    throw SeamError(
                        .incompatible,
                        "version \(adapter.factory.plugin.version) of \(adapter.origin) has no parameter \"\(name)\" \(tensor.shape), as \(format) has"
                    )
                }
                parameter.assign(tensor.values)
            }
        }
        return adapter
    }
}

extension Adapter {
    /// A parameter at one of the adapter's points, to be written for another program.
    /// - Throws: `.incompatible` where the plugin has none of that name; `.numeric` for NaN or infinity.
    func exported(_ parameter: String, at point: Point, for format: String) throws -> (shape: [Int], values: [Float]) {
        let name = "\(point.path).\(parameter)"
        guard let tensor = parameters[name] else {
            throw SeamError(
                .incompatible,
                "version \(factory.plugin.version) of \(origin) has no parameter \"\(name)\", which \(format) has")
        }
        let values = tensor.floats
        if let position = values.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric, "the adapter is not written: \"\(name)\" holds NaN or infinity at element \(position)")
        }
        return (Array(tensor.shape), values)
    }
}
