import Engine
import Files
import Testing

/// A random model of a few thousand weights in the Hugging Face layout, one for every family that the Transformer
/// plugin reads. The same bytes for the same values.
public struct TinyModel: Sendable, CustomTestStringConvertible {
    /// The families, in both feed-forward forms of T5; then those of one stack (TinyModelOneStack.swift).
    public enum Family: String, Sendable, CaseIterable {
        case t5, mt5, bart, mbart, marian, pegasus
        case bert, gpt2, llama

        public var isEncoderOnly: Bool { self == .bert }
        public var isDecoderOnly: Bool { self == .gpt2 || self == .llama }
        var hasOneStack: Bool { isEncoderOnly || isDecoderOnly }
        var isT5: Bool { self == .t5 || self == .mt5 }
        /// The norms stand before the sub-layers, with one more behind the last layer.
        var isNormFirst: Bool { self == .mbart || self == .pegasus }
        var hasLearnedPositions: Bool { self == .bart || self == .mbart }
    }

    public var family: Family
    public var dModel = 16
    public var heads = 2
    public var feedForward = 24
    public var layers = 2
    /// Where an encoder has another number of them than its decoder.
    public var encoderLayers: Int?
    public var vocabulary = 24
    /// Longest sequence of a family that has a limit.
    public var positions = 32
    public var seed: UInt64 = 1

    public static let pad: Int32 = 0
    public static let end: Int32 = 1
    public static let unknown: Int32 = 2
    /// Ids from here on are words.
    public static let firstWord: Int32 = 3

    public init(_ family: Family, dModel: Int = 16, encoderLayers: Int? = nil, seed: UInt64 = 1) {
        self.family = family
        self.dModel = dModel
        self.encoderLayers = encoderLayers
        self.seed = seed
    }

    public var testDescription: String { family.rawValue }
    /// The encoder-decoders.
    public static let everyFamily = Family.allCases.filter { !$0.hasOneStack }.map { TinyModel($0) }
    public static let decoders = Family.allCases.filter(\.isDecoderOnly).map { TinyModel($0) }

    // MARK: Writing

    /// Writes config.json, model.safetensors and a tokenizer of the words "w3", "w4" ...
    public func write(to folder: String) throws {
        try FileSystem.createDirectories(folder)
        try FileSystem.atomicWriteFile(FileSystem.join(folder, "config.json"), text: config.serialized(indent: 2))
        let tensors = shapes.map { name, shape in
            SafetensorsWriter.Tensor(
                name: name, type: .float32, shape: shape, bytes: values(name, shape).withUnsafeBytes { Array($0) })
        }
        try SafetensorsWriter.write(
            tensors, metadata: ["format": "pt"], to: FileSystem.join(folder, "model.safetensors"))
        try writeTokenizer(to: folder)
    }

    private var config: JSON {
        var members: [(key: String, value: JSON)] = [
            ("model_type", .string(family.rawValue)), ("vocab_size", .int(Int64(vocabulary))),
            ("pad_token_id", .int(Int64(Self.pad))), ("eos_token_id", .int(Int64(Self.end))),
        ]
        if family.hasOneStack { return .object(members + oneStackConfig) }
        members += [
            ("is_encoder_decoder", true), ("d_model", .int(Int64(dModel))),
            ("decoder_start_token_id", .int(Int64(Self.pad))),
        ]
        if family.isT5 {
            members += [
                ("num_heads", .int(Int64(heads))), ("num_layers", .int(Int64(depth("encoder")))),
                ("num_decoder_layers", .int(Int64(layers))),
                ("d_ff", .int(Int64(feedForward))),
                ("d_kv", .int(Int64(dModel / heads))), ("relative_attention_num_buckets", 8),
                ("relative_attention_max_distance", 16),
            ]
            if family == .mt5 { members.append(("tie_word_embeddings", false)) }
        } else {
            for side in ["encoder", "decoder"] {
                members += [
                    (side + "_layers", .int(Int64(depth(side)))), (side + "_attention_heads", .int(Int64(heads))),
                    (side + "_ffn_dim", .int(Int64(feedForward))),
                ]
            }
            members += [("max_position_embeddings", .int(Int64(positions))), ("activation_function", "gelu")]
        }
        return .object(members)
    }

    /// Names as in the files of transformers.
    private var shapes: [(String, [Int])] {
        if family.hasOneStack { return oneStackShapes }
        let stacks = ["encoder", "decoder"].flatMap { family.isT5 ? t5Stack($0) : bartStack($0) }
        let prefix = family.isT5 ? "" : "model."
        let body = [("shared.weight", [vocabulary, dModel])] + stacks
        var head: [(String, [Int])] = family == .mt5 ? [("lm_head.weight", [vocabulary, dModel])] : []
        if family == .marian { head.append(("final_logits_bias", [1, vocabulary])) }
        return body.map { (prefix + $0.0, $0.1) } + head
    }

    private func depth(_ stack: String) -> Int { stack == "encoder" ? encoderLayers ?? layers : layers }

    private func t5Stack(_ stack: String) -> [(String, [Int])] {
        var result: [(String, [Int])] = [("\(stack).final_layer_norm.weight", [dModel])]
        result.append(("\(stack).block.0.layer.0.SelfAttention.relative_attention_bias.weight", [8, heads]))
        let attentions = stack == "encoder" ? ["SelfAttention"] : ["SelfAttention", "EncDecAttention"]
        let inner = family == .mt5 ? ["wi_0", "wi_1"] : ["wi"]
        for block in 0..<depth(stack) {
            for (index, name) in attentions.enumerated() {
                let layer = "\(stack).block.\(block).layer.\(index)"
                result += ["q", "k", "v", "o"].map { ("\(layer).\(name).\($0).weight", [dModel, dModel]) }
                result.append(("\(layer).layer_norm.weight", [dModel]))
            }
            let layer = "\(stack).block.\(block).layer.\(attentions.count)"
            result += inner.map { ("\(layer).DenseReluDense.\($0).weight", [feedForward, dModel]) }
            result.append(("\(layer).DenseReluDense.wo.weight", [dModel, feedForward]))
            result.append(("\(layer).layer_norm.weight", [dModel]))
        }
        return result
    }

    private func bartStack(_ stack: String) -> [(String, [Int])] {
        var result: [(String, [Int])] = []
        if family.hasLearnedPositions {
            result.append(("\(stack).embed_positions.weight", [positions + 2, dModel]))
            result += biased("\(stack).layernorm_embedding", [dModel])
        }
        if family.isNormFirst { result += biased("\(stack).layer_norm", [dModel]) }
        for index in 0..<depth(stack) {
            let layer = "\(stack).layers.\(index)"
            for attention in stack == "encoder" ? ["self_attn"] : ["self_attn", "encoder_attn"] {
                for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                    result += biased("\(layer).\(attention).\(part)", [dModel, dModel])
                }
                result += biased("\(layer).\(attention)_layer_norm", [dModel])
            }
            result += biased("\(layer).fc1", [feedForward, dModel]) + biased("\(layer).fc2", [dModel, feedForward])
            result += biased("\(layer).final_layer_norm", [dModel])
        }
        return result
    }

    /// A matrix [out, in], or a norm's gain, with its bias.
    func biased(_ name: String, _ shape: [Int]) -> [(String, [Int])] {
        [(name + ".weight", shape), (name + ".bias", [shape[0]])]
    }

    /// Norms near 1 and matrices that keep the size of a state, so that every part of the model matters to its output.
    private func values(_ name: String, _ shape: [Int]) -> [Float] {
        var random = SeededGenerator(seed: seed, stream: name)
        let isGain = shape.count == 1 && name.hasSuffix(".weight")
        let tables = ["shared", "relative_attention_bias", "embeddings", "tokens", "wte"]
        let isTable = tables.contains { name.hasSuffix("\($0).weight") }
        let deviation = isTable ? 1 : shape.count == 2 ? 0.3 : 0.1
        return (0..<shape.reduce(1, *)).map { _ in Float((isGain ? 1 : 0) + deviation * random.normal()) }
    }

    // MARK: Tokenizer

    /// The text of a word's token.
    public static func word(_ id: Int32) -> String { "w\(id)" }

    private func writeTokenizer(to folder: String) throws {
        let specials = ["<pad>", "</s>", "<unk>"]
        let words = specials + (Int(Self.firstWord)..<vocabulary).map { Self.word(Int32($0)) }
        let tokenizer: JSON = [
            "version": "1.0", "truncation": .null, "padding": .null,
            "added_tokens": .array(
                specials.enumerated().map { id, content in
                    [
                        "id": .int(Int64(id)), "content": .string(content), "single_word": false, "lstrip": false,
                        "rstrip": false, "normalized": false, "special": true,
                    ]
                }), "normalizer": .null, "pre_tokenizer": ["type": "WhitespaceSplit"],
            "post_processor": [
                "type": "TemplateProcessing",
                "single": [["Sequence": ["id": "A", "type_id": 0]], ["SpecialToken": ["id": "</s>", "type_id": 0]]],
                "pair": [], "special_tokens": ["</s>": ["id": "</s>", "ids": [1], "tokens": ["</s>"]]],
            ], "decoder": .null,
            "model": [
                "type": "WordLevel", "unk_token": "<unk>",
                "vocab": .object(words.enumerated().map { (key: $1, value: .int(Int64($0))) }),
            ],
        ]
        try FileSystem.atomicWriteFile(FileSystem.join(folder, "tokenizer.json"), text: tokenizer.serialized())
    }
}
