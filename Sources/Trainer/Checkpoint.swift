import Engine
import Files
import SeamHost
import Support

/// What a run needs to go on exactly where it stopped: the trained values, the optimiser's moments, and the position.
/// The order of examples follows from the seed and the position, so it need not be stored.
enum Checkpoint {
    static let stateName = "trainer_state.json"
    private static let weightsName = "trainer_state.safetensors"
    private static let schema = 1
    static let kind = FolderKind(stateName, weightsName)

    /// Replaces the checkpoint at `path` as a whole.
    /// - Parameter settings: of the run; a resumed run must have the same.
    static func save(_ optimisation: Optimisation, settings: JSON, history: [RunEntry], to path: String) throws {
        let state: JSON = [
            "schema": .int(Int64(schema)), "step": .int(Int64(optimisation.step)), "settings": settings,
            "history": .array(history.map(\.json)),
        ]
        // One route counts as the run does.
        let updates = optimisation.routes.count == 1 ? nil : optimisation.routes.map { JSON.int(Int64($0.updates)) }
        let counted = state.objectValue! + (updates.map { [(key: "route_updates", value: .array($0))] } ?? [])
        let tensors = named(optimisation).flatMap { name, variable -> [SafetensorsWriter.Tensor] in
            var parts = [tensor("value." + name, variable.tensor)]
            if let moments = variable.moments {
                parts.append(tensor("first." + name, moments.first))
                parts.append(tensor("second." + name, moments.second))
            }
            return parts
        }
        try AtomicFolder.write(path, kind) { folder in
            try SafetensorsWriter.write(tensors, to: FileSystem.join(folder, weightsName))
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, stateName), text: try JSON.object(counted).serialized(indent: 2) + "\n")
        }
    }

    static func exists(at path: String) -> Bool { FileSystem.exists(FileSystem.join(path, stateName)) }

    /// Restores a checkpoint into a fresh optimisation.
    /// - Returns: the run's history up to it.
    /// - Throws: naming the first setting that differs from the checkpoint's.
    static func load(_ path: String, into optimisation: Optimisation, settings: JSON) throws -> [RunEntry] {
        try AtomicFolder.recover(path)
        let name = FileSystem.join(path, stateName)
        let state = try JSON.read(name)
        let revision = try state.requireInt("schema", in: name)
        guard revision == schema else {
            throw SeamError(.incompatible, "\(name): schema \(revision) is not \(schema), which this version reads")
        }
        for (key, value) in try state.requireObject("settings", in: name) where settings[key] != value {
            throw SeamError(
                .invalidArgument,
                "\(name): the run was started with \(key) \(try value.serialized()), it cannot be resumed with \(try settings[key]?.serialized() ?? "none")"
            )
        }
        let (step, total) = (try state.requireInt("step", in: name), optimisation.options.totalSteps)
        guard (0...total).contains(step) else {
            throw SeamError(.format, "\(name): \"step\" must be one of the run's 0 to \(total) steps, found \(step)")
        }
        let history = try state.requireArray("history", in: name).map { try RunEntry($0, in: name) }
        let file = try SafetensorsFile(FileSystem.join(path, weightsName))
        func restored(_ name: String, like variable: Variable) throws -> Tensor {
            guard let stored = file[name], stored.type == .float32, stored.shape == Array(variable.tensor.shape) else {
                throw SeamError(
                    .format, "\(file.path): tensor \"\(name)\" with shape \(variable.tensor.shape) is missing")
            }
            return Tensor(
                shape: variable.tensor.shape, dtype: .f32, storage: try Storage(copying: file.bytes(of: stored)))
        }
        for (name, variable) in named(optimisation) {
            variable.tensor.assign(try restored("value." + name, like: variable).floats)
            if file["first." + name] != nil {
                variable.restore(
                    first: try restored("first." + name, like: variable),
                    second: try restored("second." + name, like: variable))
            }
        }
        optimisation.resume(at: step, routeSteps: try routeUpdates(state, optimisation, upTo: step, in: name))
        return history
    }

    /// How often each of several routes was updated; nil for one, which is updated in every step.
    private static func routeUpdates(
        _ state: JSON, _ optimisation: Optimisation, upTo step: Int, in name: String
    ) throws -> [Int]? {
        let count = optimisation.routes.count
        guard count > 1 else { return nil }
        let found = try state.requireArray("route_updates", in: name).compactMap(\.intValue)
        guard found.count == count, found.allSatisfy({ (0...step).contains($0) }) else {
            throw SeamError(
                .format, "\(name): \"route_updates\" must be \(count) numbers of 0 to \(step), one for each route")
        }
        return found
    }

    /// Names that stay apart when two adapters have parameters of the same name.
    private static func named(_ optimisation: Optimisation) -> [(String, Variable)] {
        var result: [(String, Variable)] = []
        for (place, route) in optimisation.routes.enumerated() {
            let prefix = route.name.isEmpty ? "" : "route.\(place)."
            for (index, adapter) in route.adapters.enumerated() {
                for variable in adapter.parameters.variables {
                    result.append(("\(prefix)adapter.\(index).\(variable.name)", variable))
                }
            }
        }
        for variable in optimisation.session.backbone.parameters.variables {
            result.append(("backbone.\(variable.name)", variable))
        }
        return result
    }

    private static func tensor(_ name: String, _ tensor: Tensor) -> SafetensorsWriter.Tensor {
        SafetensorsWriter.Tensor(name: name, type: .float32, shape: Array(tensor.shape)) { body in
            try body(UnsafeRawBufferPointer(start: tensor.baseAddress, count: tensor.elementCount * 4))
        }
    }
}
