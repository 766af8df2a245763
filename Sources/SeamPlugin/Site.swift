import CSeam

/// The place where an adapter is attached, valid during `init`. Zero: unknown or unlimited.
public struct Site {
    public let seam: Text
    /// Only adapters are trained; false: the backbone is trained with them.
    public let backboneFrozen: Bool
    public let dModel: Int
    public let encoderLayers, decoderLayers: Int
    public let heads, keyValueHeads, headDim: Int
    public let maxSourcePositions, maxTargetPositions: Int
    public let vocabSize: Int
    /// The classes of the classification that the adapter is part of; 0: none.
    public let classes: Int
    /// At `Seam.decoderOutput`: the prompts about each text; 1 for an adapter that reads one.
    public let prompts: Int
    /// Layers that take a prefix (0: none), by `PrefixAttention`, how many tokens it may have (0: any number), and how
    /// many what enters the seam has.
    public let prefixLayers, maxPrefixLength, prefixLength: [Int]
    /// Heads of the keys and values of a prefix, by `PrefixAttention` and layer, and their width.
    public let prefixKeyValueHeads, prefixHeadDim: [[Int]]
    /// At `Seam.decoderOutput`: what the backbone's scores are.
    public let scoreKind: ScoreKind
    /// At a seam inside the layers: the points that the adapter is attached to, one or more, in the backbone's order.
    public let points: [Point]

    /// Nil where the host's description is incomplete.
    init?(_ site: UnsafePointer<seam_site>?) {
        guard let site = bounded(site, SEAM_SITE_SIZE_1_0), let seam = site.seam,
            let backbone = bounded(site.backbone, SEAM_BACKBONE_INFO_SIZE_1_0)
        else { return nil }
        self.seam = Text(seam)
        backboneFrozen = site.backbone_frozen != 0
        dModel = Int(backbone.d_model)
        encoderLayers = Int(backbone.encoder_layers)
        decoderLayers = Int(backbone.decoder_layers)
        heads = Int(backbone.heads)
        keyValueHeads = Int(backbone.kv_heads)
        headDim = Int(backbone.head_dim)
        maxSourcePositions = Int(backbone.max_source_positions)
        maxTargetPositions = Int(backbone.max_target_positions)
        vocabSize = Int(backbone.vocab_size)
        classes = Int(site.classes)
        prompts = Int(site.prompts)
        prefixLayers = sizes(backbone.prefix_layers)
        let layers = sizes(backbone.prefix_layers)
        prefixKeyValueHeads = byLayer(backbone.prefix_kv_heads, layers, usual: Int(backbone.kv_heads))
        prefixHeadDim = byLayer(backbone.prefix_head_dim, layers, usual: Int(backbone.head_dim))
        maxPrefixLength = sizes(backbone.max_prefix_length)
        prefixLength = sizes(site.prefix_length)
        scoreKind = ScoreKind(rawValue: site.score_kind) ?? .unknown
        guard let points = Point.list(site.points, count: site.point_count) else { return nil }
        self.points = points
    }

    /// Which inputs and outputs of the seams of prefixes are the layers of an attention.
    public func prefixPlaces(of attention: PrefixAttention) -> Range<Int> {
        let first = prefixLayers[..<attention.rawValue].reduce(0, +)
        return first..<first + prefixLayers[attention.rawValue]
    }

    /// The number of classes, and d_model, for a classifier over hidden states. Throws a sentence where either is
    /// missing.
    public func head() throws(PluginError) -> (classes: Int, dModel: Int) {
        guard classes > 0 else {
            throw PluginError(.invalidArgument, "it is the head of a classification and needs the number of classes")
        }
        guard dModel > 0 else {
            throw PluginError(.unsupported, "it reads hidden states, and this backbone does not say how wide they are")
        }
        return (classes, dModel)
    }
}

/// Numbers of each layer, by attention.
private func byLayer(
    _ lists: (UnsafePointer<Int64>?, UnsafePointer<Int64>?, UnsafePointer<Int64>?), _ layers: [Int], usual: Int
) -> [[Int]] {
    let lists = [lists.0, lists.1, lists.2]
    return layers.indices.map { attention in
        (0..<layers[attention]).map { layer in lists[attention].map { Int($0[layer]) } ?? usual }
    }
}

/// What the scores that enter `Seam.decoderOutput` are, all of them or unknown.
public enum ScoreKind: Int32 {
    case unknown = 0
    /// Any real numbers, of which a softmax makes probabilities.
    case logits = 1
    /// Natural logarithms; over other words than the classes', so their sum is below 1.
    case logProbabilities = 2
    /// Numbers from 0 to 1; over other words than the classes', so their sum is below 1.
    case probabilities = 3
    /// Cosines, from -1 to 1.
    case similarities = 4
}
