import SeamPlugin

/// What distinguishes one encoder-decoder family from another, as data: the one implementation reads
/// this and never asks which family it runs. A new family is a function that fills this struct from its
/// config.json.
struct Family {
    /// How a token's place in its sequence enters.
    enum Positions {
        /// Vectors added to the embeddings, from a table whose first `offset` rows are unused.
        case learned(limit: Int, offset: Int)
        /// The same with fixed sines and cosines.
        case sinusoidal(limit: Int)
        /// A learned bias on the attention scores by bucketed distance; any length.
        case relative(buckets: Int, maxDistance: Int)
    }

    enum NormKind { case layer, rms }

    /// One of the two stacks.
    struct Stack {
        var layers: Int
        var heads: Int
        /// Inner width of the feed-forward network.
        var feedForward: Int
        var names: StackNames
    }

    let name: StaticString
    let dModel: Int
    let headDim: Int
    let encoder: Stack
    let decoder: Stack
    let positions: Positions

    let norm: NormKind
    let epsilon: Double
    /// The norm stands before each sub-layer, inside the residual; else after the sum.
    let normFirst: Bool
    /// A norm after the last layer of each stack.
    let finalNorm: Bool
    /// A norm after embedding and position are added.
    let embeddingNorm: Bool

    /// Projections of the attention and the feed-forward network have a bias.
    let biases: Bool
    let activation: Activation
    /// The feed-forward network multiplies act(W0 x) with W1 x.
    let gated: Bool
    /// Factor on query times key, before the bias.
    let attentionScale: Double

    /// Factor on token embeddings.
    let embeddingScale: Double
    /// Factor on the last hidden state before the head.
    let headScale: Double
    /// One embedding for encoder and decoder; otherwise each has its own, if the file does.
    let sharedEmbedding: Bool
    /// Whether the head is the decoder's embedding.
    let head: Head
    let sourceVocabulary: Int
    let targetVocabulary: Int

    enum Head {
        case tied
        /// `lm_head.weight`.
        case separate
        /// `lm_head.weight` if the file has it, else tied.
        case separateIfPresent
    }

    /// Longest sequence; 0: no limit.
    var limit: Int {
        switch positions {
        case .learned(let limit, _), .sinusoidal(let limit): limit
        case .relative: 0
        }
    }
}

/// What a family calls the tensors of one stack, after the stack's own name.
struct StackNames {
    /// Before everything: "encoder." or "decoder.".
    let stack: String
    /// Before a layer's number: "layers.".
    let layers: String
    let selfAttention, selfNorm: String
    let crossAttention, crossNorm: String
    let query, key, value, output: String
    /// The two matrices of the feed-forward network, and the second input of a gated one.
    let up, gate, down, feedForwardNorm: String
    let finalNorm: String
}

extension Family {
    /// Reads config.json, or throws a sentence that names the key, what was expected and what was found.
    init(_ config: Options) throws(PluginError) {
        guard try config.bool("is_encoder_decoder", default: true) else {
            throw PluginError(
                .unsupported, "config.json: 'is_encoder_decoder' is false; expected true, an encoder-decoder model")
        }
        switch try config.string("model_type") {
        case "t5": self = try .t5(config, multilingual: false)
        case "mt5": self = try .t5(config, multilingual: true)
        case "bart": self = try .bart(config)
        case "mbart": self = try .mbart(config)
        case "marian": self = try .marian(config)
        case "pegasus": self = try .pegasus(config)
        case let other:
            throw PluginError(
                .unsupported,
                "config.json: 'model_type' is '\(other)'; expected t5, mt5, bart, mbart, marian or pegasus")
        }
    }

    /// Whether config.json is of a family above, without a look at the rest of it.
    static func accepts(_ config: Options) -> Bool {
        switch try? config.string("model_type") {
        case "t5"?, "mt5"?, "bart"?, "mbart"?, "marian"?, "pegasus"?: true
        default: false
        }
    }
}

/// The non-linearity of a feed-forward network.
enum Activation {
    case relu, gelu, geluTanh, silu

    /// By its name in config.json; `key` is where it stands.
    init(named name: Text, key: StaticString) throws(PluginError) {
        switch name {
        case "relu": self = .relu
        case "gelu", "gelu_python": self = .gelu
        case "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh": self = .geluTanh
        case "silu", "swish": self = .silu
        default:
            throw PluginError(
                .unsupported,
                "config.json: '\(key)' asks for the activation '\(name)'; expected relu, gelu, gelu_new or silu")
        }
    }

    func callAsFunction(_ x: Tensor) -> Tensor {
        switch self {
        case .relu: x.relu()
        case .gelu: x.gelu()
        case .geluTanh: x.geluTanh()
        case .silu: x.silu()
        }
    }
}

extension Options {
    /// A size from config.json. The upper bound is far above any model's: it keeps a damaged file from
    /// asking for memory, or for a product, that does not exist.
    func size(_ key: String, default value: Int? = nil, most: Int = 1 << 20) throws(PluginError) -> Int {
        let size = try int(key, default: value)
        guard size > 0, size <= most else {
            throw PluginError(.invalidArgument, "config.json: '\(key)' is \(size); expected 1 to \(most)")
        }
        return size
    }

    /// A number of layers.
    func layers(_ key: String, default value: Int? = nil) throws(PluginError) -> Int {
        try size(key, default: value, most: 1000)
    }
}
