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
