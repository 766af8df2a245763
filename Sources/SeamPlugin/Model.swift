import CSeam

/// A pretrained model on disk: its config.json and the shapes of its tensors. Valid during `accepts` and
/// `init`; the host maps the tensors themselves when it fills parameters (`Parameter.Initial.model`).
public struct Model {
    let host: UnsafePointer<seam_host>
    let raw: OpaquePointer

    /// The model's config.json.
    public var config: Options {
        Options(host: host, raw: host.pointee.model_config(raw)!, kind: "config.json:")
    }

    /// The shape of a tensor, or nil when the model has none of this name.
    public func shape(of tensor: String) -> [Int]? {
        var rank: Int32 = 0
        return withUnsafeTemporaryAllocation(of: Int64.self, capacity: Int(SEAM_MAX_RANK)) { sizes in
            guard host.pointee.model_tensor(raw, tensor, sizes.baseAddress, &rank) == Status.ok.rawValue else {
                return nil
            }
            return sizes.prefix(Int(rank)).map { Int($0) }
        }
    }
}

/// Where an adapter is attached, valid during `init`. Zero: unknown or unlimited.
public struct Site {
    public let seam: Text
    /// Only adapters are trained; false: the backbone is trained with them.
    public let backboneFrozen: Bool
    public let dModel: Int
    public let encoderLayers, decoderLayers: Int
    public let heads, keyValueHeads, headDim: Int
    public let maxSourcePositions, maxTargetPositions: Int
    public let vocabSize: Int
    /// Of the classification that the adapter is part of; 0: none.
    public let classes: Int
    /// By `PrefixAttention`: layers that take a prefix (0: none), how many tokens it may have (0: any number), and how
    /// many what enters the seam has.
    public let prefixLayers, maxPrefixLength, prefixLength: [Int]

    init(_ site: UnsafePointer<seam_site>) {
        seam = Text(site.pointee.seam)
        backboneFrozen = site.pointee.backbone_frozen != 0
        dModel = Int(site.pointee.d_model)
        encoderLayers = Int(site.pointee.encoder_layers)
        decoderLayers = Int(site.pointee.decoder_layers)
        heads = Int(site.pointee.heads)
        keyValueHeads = Int(site.pointee.kv_heads)
        headDim = Int(site.pointee.head_dim)
        maxSourcePositions = Int(site.pointee.max_source_positions)
        maxTargetPositions = Int(site.pointee.max_target_positions)
        vocabSize = Int(site.pointee.vocab_size)
        classes = Int(site.pointee.classes)
        prefixLayers = sizes(site.pointee.prefix_layers)
        maxPrefixLength = sizes(site.pointee.max_prefix_length)
        prefixLength = sizes(site.pointee.prefix_length)
    }

    /// For a classifier over hidden states: the number of classes, and d_model. Throws a sentence where either is missing.
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
