import Files
import SeamHost
import Support

/// Adapters as GGUF files of llama.cpp: LoRA (`--lora`) and control vectors (`--control-vector`).
public enum LlamaCppAdapters {
    /// What a file holds.
    private enum Kind { case lora, controlVector }

    /// Makes an adapter folder of a file, replaced as a whole or not at all.
    /// - Parameters:
    ///   - path: a file of either kind.
    ///   - replaces: whether an adapter that is at `output` is replaced; else it is refused.
    ///   - output: a folder; one of PEFT's is never replaced.
    /// - Throws: `.notFound`; `.format` and `.shape` for a damaged file; `.unsupported` for one that is neither, or is not
    ///   for models like this one; `.incompatible` where it is for another model; `.numeric`.
    public static func importAdapter(
        from path: String, backbone: Backbone, replaces: Bool = true, to output: String
    ) throws {
        let file = try GGUFFile(path)
        let (adapter, origin) =
            try kind(of: file) == .controlVector
            ? (try LlamaCppControlVector.adapter(in: file, backbone: backbone), "A control vector")
            : (try LlamaCppLoRA.adapter(in: file, backbone: backbone), "A LoRA adapter")
        try ImportedAdapter.save(
            adapter, "\(origin) from a file of llama.cpp", backbone: backbone, replaces: replaces, to: output)
    }

    /// Writes the adapter attached to a session, a LoRA or a control vector, as a file, as a whole or not at all.
    /// - Parameter replaces: whether a file of an adapter that is at `path` is replaced; else it is refused, as any other
    ///   file is.
    /// - Throws: `.unsupported` for another adapter or model; `.alreadyExists`; `.numeric` for NaN or infinity; `.io`.
    public static func export(_ session: Session, replaces: Bool = true, to path: String) throws {
        let writers = [LlamaCppLoRA.id: LlamaCppLoRA.export, LlamaCppControlVector.id: LlamaCppControlVector.export]
        guard session.adapters.count == 1, let adapter = session.adapters.first, let write = writers[adapter.factory.id]
        else {
            let ids = session.adapters.map { "\"\($0.factory.id)\"" }
            throw SeamError(
                .unsupported,
                "a file of llama.cpp's holds one LoRA adapter or control vector, found \(ids.isEmpty ? "none" : ids.joined(separator: " and ")): give that alone"
            )
        }
        try checkReplaceable(path, replaces: replaces)
        try write(adapter, session.backbone.info, path)
    }

    private static func kind(of file: GGUFFile) throws -> Kind {
        try file.string("general.architecture") == LlamaCppControlVector.architecture ? .controlVector : .lora
    }

    private static func checkReplaceable(_ path: String, replaces: Bool) throws {
        guard FileSystem.exists(path) else { return }
        let isAdapter = !FileSystem.isDirectory(path) && holdsAdapter(path)
        guard replaces, isAdapter else {
            throw SeamError(
                .alreadyExists,
                "cannot write the file \"\(path)\": \(isAdapter ? "an adapter of llama.cpp's is there" : "what is there is no adapter of llama.cpp's")"
            )
        }
    }

    private static func holdsAdapter(_ path: String) -> Bool {
        guard let file = try? GGUFFile(path) else { return false }
        return (try? file.string("general.type")) == "adapter" || (try? kind(of: file)) == .controlVector
    }
}

extension GGUFFile {
    /// The numbers of a tensor that is not quantised, in its order.
    /// - Throws: `.unsupported` for another type, `.numeric` for NaN or infinity.
    func numbers(of tensor: GGUFTensor) throws -> [Float] {
        guard let type = tensor.type.plain else {
            throw SeamError(
                .unsupported, "\(path): tensor \"\(tensor.name)\" must be F32, F16 or BF16, found \(tensor.type.name)")
        }
        return try withExtendedLifetime(self) {
            try PEFTFolder.numbers(
                UnsafeRawBufferPointer(rebasing: file.bytes[tensor.range]), type, name: tensor.name, in: path)
        }
    }
}
