import SeamPlugin

/// What distinguishes one family from another, as data: the one implementation reads this and never asks which family
/// it runs. A new family is a function that fills this struct from its config.json.
struct Family {
    /// How a token's place in its sequence enters.
    enum Positions {
        /// Vectors added to the embeddings, from a table whose first `offset` rows are unused.
        case learned(limit: Int, offset: Int)
        /// A learned table, too, where only tokens other than `padding` are counted, from the row behind it; padding has its row.
        case learnedByToken(limit: Int, padding: Int)
        /// Vectors of fixed sines and cosines.
        case sinusoidal(limit: Int)
        /// Fixed ones, too, in the order of tensor2tensor, where only tokens other than `padding` are counted, from the row
        /// behind it; padding has a row of zeros.
        case sinusoidalByToken(limit: Int, padding: Int)
        /// A learned bias on the attention scores by bucketed distance; any length.
        case relative(buckets: Int, maxDistance: Int)
        /// Queries and keys are rotated.
        case rotary(RotaryPositions)
        /// Nothing but what distances do to the scores; any length.
        case none

        /// Longest sequence; 0: no limit.
        var limit: Int {
            switch self {
            case .learned(let limit, _), .learnedByToken(let limit, _), .sinusoidal(let limit),
                .sinusoidalByToken(let limit, _):
                limit
            case .rotary(let rotary): rotary.limit
            case .relative, .none: 0
            }
        }
    }

    enum NormKind {
        case layer, rms
        /// RMS norm with 1 + weight.
        case rmsOfOnePlus
    }

    /// Over what queries and keys are normed before they are rotated.
    enum QueryKeyNorm { case head, allHeads }

    /// One of the two stacks.
    struct Stack {
        var layers: Int
        var heads: Int
        /// Heads of keys and values, which as many query heads share each.
        var keyValueHeads: Int
        /// Inner width of the feed-forward network.
        var feedForward: Int
        var names: StackNames
        /// How many tokens a token of each layer sees; 0: all, as in every layer where this is empty. In a decoder they
        /// are the last ones, the token itself among them; in an encoder half as many on each side, and itself.
        var windows: [Int] = []
        /// The layers that know no rotary positions.
        var unrotatedLayers: [Int] = []
        /// Beside its window a token of an encoder sees sums of so many tokens each, of the whole text; 0: none.
        var sumBlock = 0
    }

    /// Which projections have a bias.
    struct Biases {
        var queryKeyValue, attentionOutput, feedForward: Bool
        /// Keys have one where queries and values do.
        var key = true
        static let all = Biases(queryKeyValue: true, attentionOutput: true, feedForward: true)
        static let none = Biases(queryKeyValue: false, attentionOutput: false, feedForward: false)
    }

    let name: StaticString
    /// The key of config.json that holds the width.
    var widthKey: StaticString = "d_model"
    let dModel: Int
    let headDim: Int
    /// Nil where the family has none; with both, the decoder attends to the encoder's output.
    var encoder: Stack?
    var decoder: Stack?
    var positions: Positions
    /// Each layer has a relative bias of its own, else all of a stack that of its first.
    var relativeBiasPerLayer = false
    /// What an encoder reads in the place of tokens; nil: tokens.
    var features: Features?

    let norm: NormKind
    let epsilon: Double
    /// The norm stands before each sub-layer, inside the residual; else after the sum.
    let normFirst: Bool
    /// A norm after the last layer of each stack.
    let finalNorm: Bool
    /// A norm after embedding and position are added.
    var embeddingNorm = false
    /// A layer norm has a bias.
    var normBias = true
    /// The attention of the first layer has a norm, as those of the others.
    var firstAttentionNorm = true
    /// In a decoder that norm stands before position is added.
    var decoderNormsTokens = false

    let biases: Biases
    /// Matrices lie in the file as [in, out], not as [out, in].
    var transposedWeights = false
    let activation: Activation
    /// The feed-forward network multiplies act(W0 x) with W1 x.
    var gated = false
    /// Queries and keys have an RMS norm; nil: they have none.
    var queryKeyNorm: QueryKeyNorm?
    /// Attention and feed-forward network read the same, each through its norm, and their outputs are added together.
    var parallelBlocks = false
    /// Scores of the attention are cap * tanh(score / cap), before the bias; 0: as they are.
    var attentionCap = 0.0
    /// Factor on query times key, before the bias.
    var attentionScale: Double

    /// Factor on token embeddings.
    var embeddingScale = 1.0
    /// Where tokens have vectors of another width than the states: the matrix between them.
    var embeddingProjection: EmbeddingProjection?
    /// One embedding for encoder and decoder, saved as `sharedTable`; otherwise each has its own, if the file does.
    var sharedEmbedding = false
    /// Vectors for which of two texts a token is of; 0: none.
    var tokenTypes = 0
    var head: Head
    /// An encoder's tanh layer over the first state, where a file may have it.
    var pooler: StaticString?
    /// What stands for a text where no file of sentence-transformers says it, by the name of the option.
    var pooling: StaticString = "mean"
    /// A prefix of an encoder without a decoder takes the first positions of the text, as it does where the model of
    /// transformers knows a past; else it has none.
    var encoderPrefixTakesPositions = true
    /// A bias on an encoder's scores by distance beside positions of another kind.
    var sharedBias: SharedBias?
    /// Scores of an encoder's tokens with their distances.
    var disentangled: Disentangled?
    let sourceVocabulary: Int
    let targetVocabulary: Int

    /// A matrix from the vectors of tokens to the states.
    struct EmbeddingProjection {
        /// Of the vectors of tokens, positions and types, and of what the head compares with them.
        let width: Int
        let bias: Bool
        /// The embeddings' norm stands before it, else behind it.
        let normFirst: Bool
        /// Positions are added behind it, as wide as the states.
        var positionsBehind = false
    }

    /// T5's bias on the scores, one table for all layers of an encoder.
    struct SharedBias {
        /// [buckets, heads]
        let name: StaticString
        let buckets, maxDistance: Int
    }

    /// DeBERTa's attention between contents and distances (He et al. 2021, equation 4).
    struct Disentangled {
        /// Distances from -span to span - 1 have a row of the table each; those beyond share the last.
        let span: Int
        /// Larger distances share buckets by their logarithm (DeBERTa v2); nil: each has its own.
        let buckets: Buckets?
        /// The scores of contents with the distances to their keys, and of keys with the distances to their queries.
        let contentToPosition, positionToContent: Bool
        /// Distances are projected by the matrices of the tokens' keys and queries, else by their own.
        let sharesProjections: Bool
        /// The table has a layer norm.
        let norm: Bool

        struct Buckets {
            /// Distances up to half of it have one each.
            let count: Int
            /// From here on they share the last.
            let maxDistance: Int
        }
    }

    /// Frames of numbers, which convolutions in front of an encoder read, with a table of the encoder's positions in the
    /// file that is not trained.
    struct Features {
        /// The numbers of a frame.
        let width: Int
        /// The most positions.
        let limit: Int
        /// After the stack's name.
        let firstConvolution, secondConvolution: String
    }

    /// How the last states become scores.
    struct Head {
        enum Weight {
            /// The decoder's embedding, or the encoder's where there is no decoder.
            case tied
            /// A matrix of its own.
            case separate
            /// A matrix of its own if the file has it, else tied.
            case separateIfPresent
        }

        var weight: Weight
        /// Factor on the last hidden state.
        var scale = 1.0
        /// Scores are cap * tanh(score / cap); 0: as they are.
        var cap = 0.0
        /// A matrix from the last hidden state to as many numbers as the vectors of tokens have, in the body.
        var projection: String?
        var weightName: StaticString = "lm_head.weight"
        /// What it is called in other files of the family.
        var otherWeightName: StaticString?
        /// Added to the scores where the file has it.
        var biasName: StaticString = "final_logits_bias"
        /// The bias is a constant row [1, vocabulary], else a parameter [vocabulary].
        var biasIsConstant = true
        /// A file without it has no head.
        var needsBias = false
        /// A layer before the product; a file without it has no head.
        var transform: Transform?

        struct Transform {
            let dense, norm: StaticString
            let activation: Activation
            var bias = true
        }
    }

    /// The width of the vectors of tokens.
    var embeddingWidth: Int { embeddingProjection?.width ?? dModel }
    /// Longest sequence of each stack; 0: no limit.
    var sourceLimit: Int { features?.limit ?? positions.limit }
    var targetLimit: Int { positions.limit }

    /// The stacks that the family has.
    var architecture: Architecture {
        decoder == nil ? .encoderOnly : encoder == nil ? .decoderOnly : .encoderDecoder
    }
}

extension Family {
    /// How a family is read from config.json.
    private typealias Reader = (Options) throws(PluginError) -> Family

    /// Every family there is, by its `model_type` in config.json. docs/model-families.md tells them to people.
    private static var all: [(modelType: StaticString, read: Reader)] {
        [
            ("t5", { config throws(PluginError) in try .t5(config, multilingual: false) }),
            ("mt5", { config throws(PluginError) in try .t5(config, multilingual: true) }),
            ("umt5", { config throws(PluginError) in try .umt5(config) }),
            ("longt5", { config throws(PluginError) in try .longT5(config) }),
            ("bart", { config throws(PluginError) in try .bart(config) }),
            ("mbart", { config throws(PluginError) in try .mbart(config) }),
            ("mvp", { config throws(PluginError) in try .mvp(config) }),
            ("plbart", { config throws(PluginError) in try .plbart(config) }),
            ("marian", { config throws(PluginError) in try .marian(config) }),
            ("pegasus", { config throws(PluginError) in try .pegasus(config) }),
            ("m2m_100", { config throws(PluginError) in try .m2m100(config) }),
            ("blenderbot", { config throws(PluginError) in try .blenderbot(config) }),
            ("blenderbot-small", { config throws(PluginError) in try .blenderbotSmall(config) }),
            ("whisper", { config throws(PluginError) in try .whisper(config) }),
            ("bert", { config throws(PluginError) in try .bert(config) }),
            ("roberta", { config throws(PluginError) in try .roberta(config, "roberta") }),
            ("xlm-roberta", { config throws(PluginError) in try .roberta(config, "xlm-roberta") }),
            ("camembert", { config throws(PluginError) in try .roberta(config, "camembert") }),
            ("distilbert", { config throws(PluginError) in try .distilbert(config) }),
            ("electra", { config throws(PluginError) in try .electra(config) }),
            ("mpnet", { config throws(PluginError) in try .mpnet(config) }),
            ("modernbert", { config throws(PluginError) in try .modernbert(config) }),
            ("deberta-v2", { config throws(PluginError) in try .debertaV2(config) }),
            ("nomic_bert", { config throws(PluginError) in try .nomicBert(config) }),
            ("gpt2", { config throws(PluginError) in try .gpt2(config) }),
            ("llama", { config throws(PluginError) in try .llama(config) }),
            ("mistral", { config throws(PluginError) in try .mistral(config) }),
            ("qwen2", { config throws(PluginError) in try .qwen2(config) }),
            ("qwen3", { config throws(PluginError) in try .qwen3(config) }),
            ("gemma2", { config throws(PluginError) in try .gemma2(config) }),
            ("gemma3_text", { config throws(PluginError) in try .gemma3(config) }),
            ("phi3", { config throws(PluginError) in try .phi3(config) }),
            ("smollm3", { config throws(PluginError) in try .smolLM3(config) }),
            ("olmo2", { config throws(PluginError) in try .olmo2(config) }),
            ("gpt_neox", { config throws(PluginError) in try .gptNeoX(config) }),
            ("opt", { config throws(PluginError) in try .opt(config) }),
        ]
    }

    /// Reads config.json, or throws a sentence that names the key, what was expected and what was found.
    init(_ config: Options) throws(PluginError) {
        let all = Self.all
        let modelType = try config.string("model_type")
        guard let family = all.first(where: { modelType == $0.modelType }) else {
            var known = "\(all[0].modelType)"
            for index in 1..<all.count { known += (index < all.count - 1 ? ", " : " or ") + "\(all[index].modelType)" }
            if let nearest = Self.nearest(to: modelType, among: all.map { $0.modelType }, config) {
                known += "; the nearest is \(nearest)"
            }
            throw PluginError(.unsupported, "config.json: 'model_type' is '\(modelType)'; expected \(known)")
        }
        self = try family.read(config)
        let both = architecture == .encoderDecoder
        guard try config.bool("is_encoder_decoder", default: both) == both else {
            throw PluginError(
                .unsupported,
                both
                    ? "config.json: 'is_encoder_decoder' is false; expected true, an encoder-decoder model"
                    : "config.json: 'is_encoder_decoder' is true; expected false for '\(name)'")
        }
    }

    /// Whether config.json is of a family above, without a look at the rest of it.
    static func accepts(_ config: Options) -> Bool {
        guard let modelType = try? config.string("model_type") else { return false }
        return all.contains { modelType == $0.modelType }
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

    /// How many tokens a layer with a window sees; 0, which is no window, where the file has none.
    func window(_ key: String) throws(PluginError) -> Int {
        let window = try int(key, default: 0)
        guard window >= 0, window <= 1 << 24 else {
            throw PluginError(
                .invalidArgument, "config.json: '\(key)' is \(window); expected 1 to \(1 << 24), or null for none")
        }
        return window
    }

    /// How many tokens each layer sees: `window` those that `layer_types` calls "sliding_attention" or, where the file has
    /// no such list, that the family says; 0, all, the others.
    func windows(_ window: Int, layers: Int, isWindowed: (Int) -> Bool) throws(PluginError) -> [Int] {
        let key = "layer_types"
        guard let count = try count(key) else { return (0..<layers).map { isWindowed($0) ? window : 0 } }
        guard count == layers else {
            throw PluginError(
                .invalidArgument, "config.json: '\(key)' has \(count) layers; expected the \(layers) that the model has"
            )
        }
        var windows: [Int] = []
        for layer in 0..<layers {
            switch try string("\(key).\(layer)") {
            case "full_attention": windows.append(0)
            case "sliding_attention": windows.append(window)
            case let other:
                throw PluginError(
                    .unsupported,
                    "config.json: '\(key).\(layer)' is '\(other)'; expected full_attention or sliding_attention")
            }
        }
        return windows
    }

    /// The width of one head of a model whose heads divide its width.
    func headDim(_ width: Int, heads: Int, _ widthKey: String, _ headsKey: String) throws(PluginError) -> Int {
        guard width % heads == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: '\(widthKey)' is \(width) and '\(headsKey)' \(heads); "
                    + "expected a number that divides the width")
        }
        return width / heads
    }
}
