import Support

/// How llama.cpp stores the models of one architecture: what ggml and transformers call their tensors, and what the
/// converter does to the values. The list of all is in GGUFArchitectures.swift.
public struct GGUFArchitecture: Sendable {
    /// The key `general.architecture`: "llama".
    public let name: String
    /// The families of config.json (`model_type`) that such files hold.
    public let families: [String]
    /// Tensors that are no layer's.
    let whole: [String: String]
    let stacks: [Stack]
    /// The change of the values of tensors whose name in the file is one of these, or has it after its layer ("attn_q"),
    /// with its ending ("attn_q.weight"); of norms where the name is "norm.weight".
    let changes: [String: Change]
    /// Settings beyond those of all architectures, without the architecture's name before them.
    let settings: Set<TextKey>
    /// Whether tokens see only those before them, which a file may say, too.
    var isCausal = true
    /// The members of config.json.
    let config: @Sendable (GGUFSettings) throws -> [(key: String, value: JSON)]

    /// The layers of a stack.
    struct Stack: Sendable {
        /// Before a layer's number in the file, "blk.", and in transformers, "model.layers.".
        let ggml, huggingFace: String
        let parts: [Part]
    }

    /// A part of a layer, with a weight and perhaps a bias.
    struct Part: Sendable {
        let ggml, huggingFace: String
        /// The name in transformers where the layers have no "ffn_gate", if that is another.
        var ungated: String?

        init(_ ggml: String, _ huggingFace: String, ungated: String? = nil) {
            (self.ggml, self.huggingFace, self.ungated) = (ggml, huggingFace, ungated)
        }
    }

    /// What the converter of llama.cpp does to the values of a tensor.
    enum Change: Sendable {
        /// The rows of each head lie in pairs that are rotated together, in as many heads as queries or keys have.
        case pairedQueries, pairedKeys
        /// The matrix is transposed.
        case transposed
        /// 1 is added.
        case oneAdded
    }

    /// The architecture of that name (`general.architecture`), or nil.
    public static func named(_ name: String) -> GGUFArchitecture? { all.first { $0.name == name } }

    /// The architecture whose files hold models of a family (`model_type` of config.json), or nil.
    public static func of(family: String) -> GGUFArchitecture? { all.first { $0.families.contains(family) } }

    /// The families (`model_type` of config.json) of which GGUF files are read.
    public static var readableFamilies: [String] { all.flatMap(\.families) }

    /// What transformers may call a tensor of a file ("blk.0.attn_q.weight"): "model.layers.0.self_attn.q_proj.weight".
    /// A part has two names where they differ for gated feed-forward networks, whose name is the first; none stands for a
    /// tensor that no model of so many layers has.
    /// - Parameter layers: of each stack, the encoder's first where there are two.
    public func huggingFace(_ name: String, layers: [Int]) -> [String] {
        if let name = whole[name] { return [name] }
        for (stack, count) in zip(stacks, layers) {
            guard let (layer, part, ending) = Self.place(of: name, behind: stack.ggml), layer < count,
                ["weight", "bias"].contains(ending), let found = stack.parts.first(where: { $0.ggml == part })
            else { continue }
            return [found.huggingFace, found.ungated].compactMap { $0 }.map {
                "\(stack.huggingFace)\(layer).\($0).\(ending)"
            }
        }
        return []
    }

    /// The reverse, of a matrix of a layer; nil for any other tensor.
    public func ggml(ofLayerMatrix name: String) -> String? {
        for stack in stacks {
            guard let (layer, part, ending) = Self.place(of: name, behind: stack.huggingFace), ending == "weight",
                let found = stack.parts.first(where: { $0.huggingFace == part || $0.ungated == part })
            else { continue }
            return "\(stack.ggml)\(layer).\(found.ggml).weight"
        }
        return nil
    }

    /// The places of a query or key projection's rows in the file, where they are others; nil where they are in order.
    /// - Parameters:
    ///   - name: the tensor's name in the file.
    ///   - rows: of the tensor.
    ///   - heads, kvHeads: 1 or more.
    public func rowOrder(_ name: String, rows: Int, heads: Int, kvHeads: Int) -> [Int]? {
        let count: Int
        switch change(of: name) {
        case .pairedQueries: count = heads
        case .pairedKeys: count = kvHeads
        default: return nil
        }
        return rows.isMultiple(of: 2 * count) ? Self.rowOrder(rows: rows, heads: count) : nil
    }

    /// llama.cpp rotates neighbouring pairs of a head's values, transformers the first half with the second, so that row
    /// 2i + p of a head there is row p d/2 + i here.
    static func rowOrder(rows: Int, heads: Int) -> [Int] {
        let (size, half) = (rows / heads, rows / heads / 2)
        return (0..<rows).map { $0 / size * size + $0 % half * 2 + $0 % size / half }
    }

    func change(of name: String) -> Change? {
        if name.hasSuffix("norm.weight"), let change = changes["norm.weight"] { return change }
        for stack in stacks {
            guard let (_, part, ending) = Self.place(of: name, behind: stack.ggml) else { continue }
            return changes[part] ?? changes["\(part).\(ending)"]
        }
        return nil
    }

    /// "blk.3.attn_q.weight" behind "blk." is 3, "attn_q" and "weight"; nil for what has another form.
    private static func place(of name: String, behind prefix: String) -> (layer: Int, part: String, ending: String)? {
        guard name.hasPrefix(prefix) else { return nil }
        let words = name.dropFirst(prefix.count).split(separator: ".", omittingEmptySubsequences: false)
        guard words.count >= 3, let layer = Int(words[0]), layer >= 0, "\(layer)" == words[0] else { return nil }
        return (layer, words[1..<(words.count - 1)].joined(separator: "."), String(words[words.count - 1]))
    }
}
