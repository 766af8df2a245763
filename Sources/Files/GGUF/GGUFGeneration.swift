import Support

/// The settings of a generation that a GGUF file holds, as generation_config.json would have them; empty where it holds
/// none.
struct GGUFGeneration {
    private(set) var members: [(key: String, value: JSON)] = []

    /// Special tokens at which llama.cpp ends a generation: the ends of a text, of a turn and of a message, and the three
    /// that stand between files where a model completes code.
    private static let ends = ["eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"]

    /// Throws `SeamError(.format)` for values of another type, and for an id that is not below `vocabulary`.
    init(_ file: GGUFFile, vocabulary: Int) throws {
        var ends: [Int32] = []
        for name in Self.ends {
            if let id = try file.token(name, below: vocabulary), !ends.contains(id) { ends.append(id) }
        }
        try addSampling(file)
        // A single end token is that of the configuration, unless the file names none there; beside other settings it is
        // named, since a generation_config.json goes before the configuration.
        let named = try file.token("eos", below: vocabulary)
        if !ends.isEmpty, !members.isEmpty || ends.count > 1 || ends.first != named {
            members.insert(("eos_token_id", .array(ends.map { .int(Int64($0)) })), at: 0)
        }
    }

    /// What llama.cpp takes from general.sampling where its caller gives nothing. Its neutral numbers become those of
    /// transformers; what has no counterpart keeps its name, by which it is refused.
    private mutating func addSampling(_ file: GGUFFile) throws {
        let prefix = "general.sampling."
        if let count = try file.int(prefix + "top_k") { members.append(("top_k", .int(Int64(max(0, count))))) }
        if let sum = try file.double(prefix + "top_p") { members.append(("top_p", .double(min(1, sum)))) }
        if let part = try file.double(prefix + "min_p") { members.append(("min_p", .double(max(0, part)))) }
        if let temperature = try file.double(prefix + "temp") {
            // 0 takes the most probable token, which is no sampling.
            members.append(temperature > 0 ? ("temperature", .double(temperature)) : ("do_sample", false))
        }
        // llama.cpp looks back at the last 64 tokens unless the file says otherwise; -1 stands for all.
        let reach = try file.int(prefix + "penalty_last_n") ?? 64
        if let penalty = try file.double(prefix + "penalty_repeat"), reach != 0 {
            members.append((reach == -1 ? "repetition_penalty" : prefix + "penalty_repeat", .double(penalty)))
        }
        if let probability = try file.double(prefix + "xtc_probability") {
            members.append((prefix + "xtc_probability", .double(probability)))
        }
        if let version = try file.int(prefix + "mirostat") {
            members.append((prefix + "mirostat", .int(Int64(version))))
        }
        if let sequence = try file.string(prefix + "sequence") {
            members.append((prefix + "sequence", .string(sequence)))
        }
    }
}
