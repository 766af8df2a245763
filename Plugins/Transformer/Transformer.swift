import CSeam
import SeamPlugin

/// A pretrained Transformer, as its family describes it: an encoder, a decoder, or both.
///
/// Dropout is not applied, in training either: SeamKit trains without it, because a frozen backbone must
/// give the same states for the same input in every epoch, which are then computed once and kept.
final class Transformer: Backbone {
    static var descriptor: BackboneDescriptor {
        BackboneDescriptor(
            id: "transformer",
            summary: """
                Transformers in the Hugging Face layout: T5, mT5, umT5, LongT5, BART, mBART, MVP, PLBART, Marian, \
                PEGASUS, M2M-100, Blenderbot, Whisper; BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, ELECTRA, \
                MPNet, ModernBERT, DeBERTa v2 and v3, Nomic BERT; GPT-2, Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, \
                Phi-3, SmolLM3, OLMo 2, GPT-NeoX, OPT.
                """,
            options: Pooling.options)
    }

    private let weights: Weights
    private let encoder: Encoder?
    private let decoder: Decoder?
    private let outputHead: Head?
    private let pooling: Pooling
    /// Layers, heads of keys and values, and their width, of a decoding state.
    private let family: Family

    let info: BackboneInfo
    var parameters: [Parameter] { weights.parameters }

    /// Less than all, so that a backbone made for one family goes before.
    static func accepts(_ model: Model) -> Int { Family.accepts(model.config) ? 50 : 0 }

    convenience init(options: Options, model: Model?) throws(PluginError) {
        guard let model else {
            throw PluginError(.invalidArgument, "a transformer needs a model folder with config.json and its weights")
        }
        let family = try Family(model.config)
        let weights = try Weights(model, family)
        let pooling = try Pooling(options, model.config, weights, family)
        self.init(family, weights, pooling, model.config)
    }

    private init(_ family: Family, _ weights: Weights, _ pooling: Pooling, _ config: Options) {
        (self.family, self.weights, self.pooling) = (family, weights, pooling)
        let tables = Embedding.tables(weights, family)
        encoder = family.encoder.map { Encoder(weights, $0, tables.source, family) }
        decoder = family.decoder.map { Decoder(weights, $0, tables.target, family) }
        outputHead = Head(weights, tiedTo: tables.target, family)
        var info = Self.info(family, config, hasHead: outputHead != nil)
        info.points = weights.points
        self.info = info
    }

    func encode(_ source: Source, in context: Context) -> Tensor {
        encoder.map { $0(source, in: context) } ?? context.fail(.unsupported, "this model has no encoder")
    }

    func decode(_ target: Target, in context: Context) -> (logits: Tensor?, hidden: Tensor) {
        guard let decoder, let outputHead else {
            let failed = context.fail(.unsupported, "this model has no decoder")
            return (failed, failed)
        }
        let states = decoder(target, in: context)
        // What leaves a layer goes to the next one, not to the head.
        let hidden = target.layers.stop > 0 ? states : outputHead.input(states)
        return (target.hiddenOnly ? nil : outputHead(hidden, in: context), hidden)
    }

    func head(_ hidden: Tensor, in context: Context) -> Tensor {
        outputHead.map { $0(hidden, in: context) } ?? context.fail(.unsupported, "this model has no head")
    }

    func pool(_ hidden: Tensor, mask: Tensor, in context: Context) -> Tensor {
        guard decoder == nil else { return context.fail(.unsupported, "only encoder-only models have a pooled vector") }
        return pooling(hidden, mask: mask, in: context)
    }

    func makeState(batch: Int, capacity: Int, in context: Context) -> (any DecodingState)? {
        guard let stack = family.decoder else {
            _ = context.fail(.unsupported, "this model has no decoder")
            return nil
        }
        return DecoderState(batch: batch, capacity: capacity, stack, headDim: family.headDim, in: context)
    }

    private static func info(_ family: Family, _ config: Options, hasHead: Bool) -> BackboneInfo {
        // Null is common; of what else is no id there is none to name.
        func token(_ key: String) -> Int { (try? config.int(key, default: -1)) ?? -1 }
        var info = BackboneInfo(family: family.name)
        info.architecture = family.architecture
        if family.encoder == nil { info.seams = [] }
        info.dModel = family.dModel
        (info.encoderLayers, info.decoderLayers) = (family.encoder?.layers ?? 0, family.decoder?.layers ?? 0)
        let stack = family.decoder ?? family.encoder
        (info.heads, info.keyValueHeads, info.headDim) = (stack?.heads ?? 0, stack?.keyValueHeads ?? 0, family.headDim)
        (info.maxSourcePositions, info.maxTargetPositions) = (family.sourceLimit, family.targetLimit)
        // A prefix of a decoder, or of an encoder alone, takes positions of the text and must leave it one.
        let room = max(family.targetLimit - 1, 0)
        let takesPositions = family.decoder == nil && family.encoderPrefixTakesPositions
        info.prefixLayers = [info.encoderLayers, info.decoderLayers, family.encoder == nil ? 0 : info.decoderLayers]
        info.maxPrefixLength = [takesPositions ? room : 0, room, 0]
        if let encoder = family.encoder, encoder.keyValueHeads != info.keyValueHeads {
            info.prefixKeyValueHeads[0] = [Int](repeating: encoder.keyValueHeads, count: encoder.layers)
        }
        info.encodesLayerRanges = family.encoder != nil
        info.decodesLayerRanges = family.decoder != nil
        info.vocabSize = family.targetVocabulary
        info.sourceVocabSize = family.sourceVocabulary
        if let features = family.features {
            (info.featureWidth, info.featureStride) = (features.width, FeatureEmbedding.stride)
        }
        info.hasHead = hasHead
        info.decoderStartToken = token("decoder_start_token_id")
        info.beginToken = token("bos_token_id")
        info.endTokens = endTokens(config)
        info.padToken = token("pad_token_id")
        info.maskToken = token("mask_token_id")
        return info
    }
}

extension Transformer {
    /// One id, or a list of ids that each end a text.
    private static func endTokens(_ config: Options) -> [Int] {
        let key = "eos_token_id"
        if let id = try? config.int(key) { return id < 0 ? [] : [id] }
        let count = (try? config.count(key)) ?? 0
        return (0..<count).compactMap { try? config.int("\(key).\($0)") }.filter { $0 >= 0 }
    }
}

private let plugin = Plugin(
    id: "org.seamkit.transformer", version: "1.0.0", license: "Apache-2.0",
    summary: "Transformers as backbones: encoder-decoder, encoder-only and decoder-only.",
    backbones: [
        BackboneFactory(Transformer.self, accepts: { Transformer.accepts($0, $1) }) {
            Transformer.create($0, $1, $2, $3, $4)
        }
    ])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
