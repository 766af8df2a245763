import CSeam

/// A pretrained model written with the compute table, so that gradients come for free on every
/// engine. `BackboneFactory` turns a conforming type into the C table that the host reads. (An opaque
/// backbone, which computes by itself, fills that table in C: Tests/Fixtures/opaque-backbone.)
public protocol Backbone: AnyObject {
    /// What users see. Read once, when the library is loaded.
    static var descriptor: BackboneDescriptor { get }

    /// How well this type opens the model, judged by its config.json: 0 not at all, 100 as the one made for it. The
    /// host takes the type with the highest number.
    static func accepts(_ model: Model) -> Int

    /// Opens a model, or throws a sentence for the user. `model` is nil when the user named no folder.
    init(options: Options, model: Model?) throws(PluginError)

    /// What the opened model is. Read once, after `init`.
    var info: BackboneInfo { get }

    /// The weights, mostly `.model` ones, which the host maps from the file. Read once, after `init`.
    var parameters: [Parameter] { get }

    /// Source tokens or features to hidden states [batch, positions, d_model]. Not called for a decoder-only backbone.
    func encode(_ source: Source, in context: Context) -> Tensor

    /// Target tokens, and what left the encoder.output seam, to what the head reads [batch, target, d_model] and
    /// to its logits [batch, target, vocabulary], nil if `hiddenOnly`. Not called for an encoder-only backbone.
    func decode(_ target: Target, in context: Context) -> (logits: Tensor?, hidden: Tensor)

    /// Hidden states [..., d_model] to scores [..., vocabulary]; called where `info.hasHead`.
    func head(_ hidden: Tensor, in context: Context) -> Tensor

    /// The states [batch, source, d_model] of whole texts, with their mask [batch, source], to one vector each,
    /// [batch, d_model]. Called for encoder-only backbones.
    func pool(_ hidden: Tensor, mask: Tensor, in context: Context) -> Tensor

    /// A state for at most `capacity` target tokens of `batch` rows; nil after `context.fail`. Not called for an
    /// encoder-only backbone.
    func makeState(batch: Int, capacity: Int, in context: Context) -> (any DecodingState)?
}

/// What an encoder reads.
public struct Source {
    /// [batch, source] i32; nil where sources are features.
    public let ids: Tensor?
    /// [batch, frames, `BackboneInfo.featureWidth`]; nil where sources are tokens.
    public let features: Tensor?
    /// [batch, source] i32, 1 a token or a frame, 0 padding.
    public let mask: Tensor
    /// [batch, source] i32: which of two texts a token is of; nil: all of the first.
    public let tokenTypes: Tensor?
    /// The prefixes of `Seam.attentionPrefix`; nil: none.
    public let prefix: LayerPrefixes?
    /// Whom to tell what flows through the points; nil: nobody wants one.
    public let visitor: Visitor?
    /// Where the keys and values of the source's tokens go; nil: nobody wants them.
    public let keysValues: LayerKeysValues?
    /// The layers that run, of a backbone with `BackboneInfo.encodesLayerRanges`.
    public let layers: LayerRange
}

/// What a decoder reads.
public struct Target {
    /// [batch, target] i32; with a state they continue what it has seen.
    public let ids: Tensor
    /// What left the encoder.output seam [batch, source, d_model]; with a state on its first call only, which
    /// stores what it needs. Nil without an encoder.
    public let encoder: Tensor?
    /// The source's mask [batch, source]; nil without an encoder.
    public let encoderMask: Tensor?
    /// [batch, seen + target] i32 over the target's own tokens, those the state has seen first; nil: all ones.
    public let mask: Tensor?
    /// [batch, target] i32; nil: counted from what the state has seen.
    public let positions: Tensor?
    public let state: (any DecodingState)?
    /// The logits are not wanted.
    public let hiddenOnly: Bool
    /// The prefixes of `Seam.attentionPrefix`, before the target's own keys and the encoder's; nil: none. Given in
    /// every call, also with a state, which keeps none of it: its tokens count neither to the state's capacity nor to
    /// `mask` and `positions`.
    public let prefix: LayerPrefixes?
    public let crossPrefix: LayerPrefixes?
    /// Whom to tell what flows through the points; nil: nobody wants one.
    public let visitor: Visitor?
    /// Where the keys and values of the target's own tokens go, and those of `encoder`; nil: nobody wants them.
    public let keysValues: LayerKeysValues?
    public let crossKeysValues: LayerKeysValues?
    /// The layers that run, of a backbone with `BackboneInfo.decodesLayerRanges`.
    public let layers: LayerRange
}

/// The part of a stack's layers that runs. The cut is behind a layer, before its `layer.output` is visited.
public struct LayerRange {
    /// What left layer `start` - 1, [batch, n, d_model]: it takes the place of what would be embedded, and is the first
    /// that is visited, at that layer's `layer.output`. Nil: the stack begins with its tokens.
    public let state: Tensor?
    /// The first layer that runs; 0 without `state`.
    public let start: Int
    /// The layers before this one run, and the stack gives what leaves the last of them: without a visit at its
    /// `layer.output`, and without a norm behind the layers. 0: all run, and the stack gives what it always does.
    public let stop: Int

    init(start: Int64, state: OpaquePointer?, stop: Int64, _ tensor: (OpaquePointer?) -> Tensor) {
        self.state = start > 0 ? tensor(state) : nil
        (self.start, self.stop) = (Int(max(start, 0)), Int(max(stop, 0)))
    }

    /// The layers that run, of `count`.
    public func of(_ count: Int) -> Range<Int> {
        let end = stop > 0 ? min(stop, count) : count
        return min(start, end)..<end
    }

    /// Whether the stack gives what leaves this layer, as it is.
    public func ends(behind layer: Int) -> Bool { stop == layer + 1 }
}

/// What a backbone remembers between decoding steps (past keys and values).
public protocol DecodingState: AnyObject {
    /// New row i continues old row rows[i]: beam search, or finished rows that leave.
    func select(_ rows: UnsafeBufferPointer<Int32>, in context: Context)

    /// The rows of another state of the same backbone come behind those of this one, which can hold the greater of both
    /// capacities then. Both have seen tokens, not always as many: a row's next token stands behind its own. The other
    /// state is let go afterwards.
    func append(_ other: any DecodingState, in context: Context)
}

/// What an opened model is. Zero: none or unlimited; token ids: -1 for none.
public struct BackboneInfo {
    public var family: StaticString
    public var seams: [StaticString] = [Seam.encoderOutput]
    public var dModel = 0
    public var encoderLayers = 0, decoderLayers = 0
    public var heads = 0, keyValueHeads = 0, headDim = 0
    public var maxSourcePositions = 0, maxTargetPositions = 0
    public var vocabSize = 0
    /// The vocabulary of sources that have one of their own; 0: `vocabSize` serves both.
    public var sourceVocabSize = 0
    public var decoderStartToken = -1, padToken = -1, beginToken = -1, maskToken = -1
    /// Each ends a text.
    public var endTokens: [Int] = []
    public var architecture = Architecture.encoderDecoder
    /// Whether scores of the vocabulary can be had; a sentence encoder has hidden states only.
    public var hasHead = true
    /// Layers that take a prefix, by `PrefixAttention`, and how many tokens it may have where it takes positions that
    /// the text then has not.
    public var prefixLayers = [0, 0, 0], maxPrefixLength = [0, 0, 0]
    /// Heads of the keys and values of a prefix, by `PrefixAttention` and layer, and their width. An empty list:
    /// `keyValueHeads`, or `headDim`, in all layers.
    public var prefixKeyValueHeads: [[Int]] = [[], [], []], prefixHeadDim: [[Int]] = [[], [], []]
    /// The numbers of a frame, where sources are features, and how many frames are one position of the hidden states.
    public var featureWidth = 0, featureStride = 0
    /// Whether `encode` and `decode` honour `Source.layers` and `Target.layers`.
    public var encodesLayerRanges = false, decodesLayerRanges = false
    /// The seams inside the layers, of which `Source.visitor` and `Target.visitor` are told.
    public var points: [Point] = []

    public init(family: StaticString) { self.family = family }
}

/// Which functions a backbone is run with; `text` is that of every `TextBackbone`.
public enum Architecture: Int32 {
    case encoderDecoder = 0
    case encoderOnly = 1
    case decoderOnly = 2
    case text = 3
}

extension Backbone {
    /// The C side of `init`; see `BackboneFactory`.
    public static func create(
        _ host: UnsafePointer<seam_host>?, _ options: OpaquePointer?, _ model: OpaquePointer?,
        _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
    ) -> seam_status {
        guard let host = compatible(host), let options, let out else { return Status.incompatible.rawValue }
        do throws(PluginError) {
            let backbone = try Self(
                options: Options(host: host, raw: options, kind: "the option"),
                model: model.map { Model(host: host, raw: $0) })
            out.pointee = Unmanaged.passRetained(BackboneInstance(backbone)).toOpaque()
            return Status.ok.rawValue
        } catch let failure {
            return report(failure, host, error)
        }
    }

    /// The C side of `accepts`.
    public static func accepts(_ host: UnsafePointer<seam_host>?, _ model: OpaquePointer?) -> Int32 {
        guard let host = compatible(host), let model else { return 0 }
        return Int32(truncatingIfNeeded: min(max(accepts(Model(host: host, raw: model)), 0), 100))
    }
}

/// The C table of one backbone type:
///
///     BackboneFactory(Mine.self, accepts: { Mine.accepts($0, $1) }) { Mine.create($0, $1, $2, $3, $4) }
///
/// Both closures are spelled out for the reason given at `AdapterFactory`.
public struct BackboneFactory {
    public typealias Accepts = @convention(c) (UnsafePointer<seam_host>?, OpaquePointer?) -> Int32
    public typealias Create =
        @convention(c) (
            UnsafePointer<seam_host>?, OpaquePointer?, OpaquePointer?,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?, UnsafeMutablePointer<OpaquePointer?>?
        ) -> seam_status

    let table: UnsafePointer<seam_backbone_factory>?

    public init<B: Backbone>(_ type: B.Type, accepts: Accepts, create: Create) {
        var factory = B.descriptor.factory
        factory.accepts = accepts
        factory.create = create
        factory.destroy = { Unmanaged<BackboneInstance>.fromOpaque($0!).release() }
        factory.info = { BackboneInstance.at($0).describe($1!) }
        factory.parameter_count = { BackboneInstance.at($0).parameters.count }
        factory.parameter = { BackboneInstance.at($0).parameters[$1].describe($2!) }
        factory.encode = { BackboneInstance.at($0).encode($1, $2) }
        factory.decode = { BackboneInstance.at($0).decode($1, $2) }
        factory.head = { BackboneInstance.at($0).head($1, $2) }
        factory.pool = { BackboneInstance.at($0).pool($1, $2) }
        factory.state_create = { BackboneInstance.at($0).makeState($1, batch: Int($2), capacity: Int($3)) }
        factory.state_destroy = { StateInstance.release($1) }
        factory.state_select = { StateInstance.select($1, $2, $3, Int($4)) }
        factory.state_append = { StateInstance.append($1, $2, $3) }
        table = permanent(factory)
    }
}
