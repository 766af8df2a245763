import Files
import SeamHost
import Support

// The one tensor of a prefix or a prompt.
extension PEFTConfig {
    /// `prompt_embeddings`: of a prefix [tokens, num_layers * 2 * token_dim], of a prompt [tokens of all submodules, token_dim].
    /// - Parameter factors: of the width of a row, as the config says.
    func rows(in folder: PEFTFolder, _ factors: [Int], _ runtime: Runtime) throws -> [Float] {
        let file = try folder.openWeights()
        guard let stored = file[PEFTConfig.tensorName] else {
            throw SeamError(.format, "\(file.path) has no tensor \"\(PEFTConfig.tensorName)\"")
        }
        try folder.leaveOut(file.tensors.map(\.name).filter { $0 != PEFTConfig.tensorName }, of: file, runtime)
        let count = method.isPrefix ? tokens : tokens * submodules
        let width = factors.map(String.init).joined(separator: " * ")
        let keys =
            method.isPrefix
            ? "num_virtual_tokens, num_layers and token_dim say"
            : "num_virtual_tokens, num_transformer_submodules and token_dim say"
        // By quotients: the numbers of the config may be too large to multiply.
        var rest = stored.shape.last ?? 0
        let divides = factors.allSatisfy { factor in
            defer { rest /= factor }
            return rest.isMultiple(of: factor)
        }
        guard stored.shape.count == 2, stored.shape[0] == count, divides, rest == 1 else {
            throw SeamError(
                .shape,
                "\(file.path): tensor \"\(stored.name)\" must be [\(count), \(width)] as \(keys), found \(stored.shape)"
            )
        }
        return try PEFTFolder.numbers(of: stored, in: file)
    }

    /// Writes a folder with this config and the tensor of a prefix or a prompt, as `PEFTFolder.write` does.
    func write(_ rows: [Float], _ shape: [Int], baseModel: String?, replaces: Bool, to path: String) throws {
        let tensor = PEFTFolder.Tensor(name: Self.tensorName, shape: shape, values: rows)
        try PEFTFolder.write(json(baseModel: baseModel), [tensor], replaces: replaces, to: path)
    }
}
