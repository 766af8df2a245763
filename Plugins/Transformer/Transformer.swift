import CSeam
import SeamPlugin

/// A pretrained encoder-decoder Transformer, as its family describes it.
///
/// Dropout is not applied, in training either: SeamKit trains without it, because a frozen backbone must
/// give the same states for the same input in every epoch, which are then computed once and kept.
final class Transformer: Backbone {
    static var descriptor: BackboneDescriptor {
        BackboneDescriptor(
            id: "transformer",
            summary: "Encoder-decoder Transformers in the Hugging Face layout: T5, mT5, BART, mBART, Marian, PEGASUS.")
    }

    private let family: Family
    private let weights: Weights
    private let sourceEmbedding: Embedding
    private let targetEmbedding: Embedding
    private let encoderLayers: [EncoderLayer]
    private let encoderBias: RelativeBias?
    private let encoderNorm: Norm?
    private let decoderLayers: [DecoderLayer]
    private let decoderBias: RelativeBias?
    private let decoderNorm: Norm?
    private let outputHead: Head

    let info: BackboneInfo
    var parameters: [Parameter] { weights.parameters }

    static func accepts(_ model: Model) -> Bool { Family.accepts(model.config) }

    init(options: Options, model: Model?) throws(PluginError) {
        guard let model else {
            throw PluginError(.invalidArgument, "a transformer needs a model folder with config.json and its weights")
        }
        let family = try Family(model.config)
        let (encoder, decoder) = (family.encoder.names, family.decoder.names)
        let weights = try Weights(model, probe: encoder.layer(0) + encoder.selfNorm + ".weight", family)
        (self.family, self.weights) = (family, weights)
        let tables = Embedding.tables(weights, family)
        sourceEmbedding = Embedding(weights, encoder, tables.source, family)
        targetEmbedding = Embedding(weights, decoder, tables.target, family)
        encoderLayers = (0..<family.encoder.layers).map { EncoderLayer(weights, $0, family) }
        encoderBias = RelativeBias(weights, family.encoder, bidirectional: true, family)
        encoderNorm = family.finalNorm ? Norm(weights, encoder.stack + encoder.finalNorm, family) : nil
        decoderLayers = (0..<family.decoder.layers).map { DecoderLayer(weights, $0, family) }
        decoderBias = RelativeBias(weights, family.decoder, bidirectional: false, family)
        decoderNorm = family.finalNorm ? Norm(weights, decoder.stack + decoder.finalNorm, family) : nil
        outputHead = Head(weights, tiedTo: tables.target, family)
        info = Self.info(family, model.config)
    }

    func encode(_ source: Source, in context: Context) -> Tensor {
        let (ids, mask) = (source.ids, source.mask)
        let length = ids.size(1)
        guard family.limit == 0 || length <= family.limit else {
            return context.fail(
                .shape, "the source has \(length) tokens and this model reads at most \(family.limit)")
        }
        var x = sourceEmbedding(ids, from: 0, in: context)
        // One bias for all layers: it depends on the positions only.
        let bias = encoderBias.map { $0(queries: length, keys: length, in: context) }
        for layer in encoderLayers {
            x = context.scope { layer(x, bias: bias, mask: mask, in: context) }
        }
        return encoderNorm.map { $0(x, in: context) } ?? x
    }

    func decode(_ target: Target, in context: Context) -> (logits: Tensor?, hidden: Tensor) {
        let state = target.state.map { unsafeDowncast($0, to: DecoderState.self) }
        let (ids, encoder) = (target.ids, target.encoder)
        let count = ids.size(1)
        let start = state?.position ?? 0
        if let problem = problem(from: start, count: count, capacity: state?.capacity) {
            let failed = context.fail(.shape, problem)
            return (failed, failed)
        }
        guard let mask = target.encoderMask else {
            let failed = context.fail(.plugin, "decoding needs the source's mask")
            return (failed, failed)
        }
        let sourceMask = state?.mask(in: context) ?? mask
        if start == 0 { state?.begin(mask: mask, in: context) }
        var x = targetEmbedding(ids, from: start, in: context)
        let bias = decoderBias.map { $0(queries: count, keys: start + count, in: context) }
        for (index, layer) in decoderLayers.enumerated() {
            x = context.scope {
                layer(
                    x, bias: bias,
                    past: { state?.extend(index, by: $0, count: count, in: context) ?? $0 },
                    memory: memory(index, layer, encoder, state, in: context), mask: sourceMask, in: context)
            }
        }
        state?.advance(by: count)
        let hidden = outputHead.input(decoderNorm.map { $0(x, in: context) } ?? x)
        return (target.hiddenOnly ? nil : outputHead(hidden, in: context), hidden)
    }

    func head(_ hidden: Tensor, in context: Context) -> Tensor { outputHead(hidden, in: context) }

    func pool(_ hidden: Tensor, mask: Tensor, in context: Context) -> Tensor {
        context.fail(.unsupported, "an encoder-decoder has no pooled vector")
    }

    func makeState(batch: Int, capacity: Int, in context: Context) -> (any DecodingState)? {
        DecoderState(batch: batch, capacity: capacity, family, in: context)
    }

    /// What a layer looks up in the source: remembered, or computed from the encoder's output and
    /// remembered for the next step.
    private func memory(
        _ index: Int, _ layer: DecoderLayer, _ encoder: Tensor?, _ state: DecoderState?, in context: Context
    ) -> KeysValues {
        if let memory = state?.memory(index, in: context) { return memory }
        guard let encoder else {
            let failed = context.fail(.plugin, "the first decoding step needs the encoder's output")
            return KeysValues(keys: failed, values: failed)
        }
        let memory = layer.memory(of: encoder, in: context)
        state?.remember(memory, in: context)
        return memory
    }

    /// Why a target cannot be decoded, as a sentence; nil when it can.
    private func problem(from start: Int, count: Int, capacity: Int?) -> String? {
        let length = start + count
        if count < 1 { return "there is no target token to decode" }
        if let capacity, length > capacity {
            return "the target has \(length) tokens and its decoding state was made for \(capacity)"
        }
        if family.limit > 0, length > family.limit {
            return "the target has \(length) tokens and this model writes at most \(family.limit)"
        }
        return nil
    }

    private static func info(_ family: Family, _ config: Options) -> BackboneInfo {
        // Null is common and a list of several ids allowed: then there is no one id to name.
        func token(_ key: String) -> Int { (try? config.int(key, default: -1)) ?? -1 }
        var info = BackboneInfo(family: family.name)
        info.dModel = family.dModel
        (info.encoderLayers, info.decoderLayers) = (family.encoder.layers, family.decoder.layers)
        (info.heads, info.keyValueHeads, info.headDim) = (family.decoder.heads, family.decoder.heads, family.headDim)
        (info.maxSourcePositions, info.maxTargetPositions) = (family.limit, family.limit)
        info.vocabSize = family.targetVocabulary
        info.sourceVocabSize = family.sourceVocabulary
        info.decoderStartToken = token("decoder_start_token_id")
        info.endToken = token("eos_token_id")
        info.padToken = token("pad_token_id")
        return info
    }
}

private let plugin = Plugin(
    id: "org.seamkit.transformer", version: "1.0.0", license: "Apache-2.0",
    summary: "Encoder-decoder Transformers as backbones.",
    backbones: [
        BackboneFactory(Transformer.self, accepts: { Transformer.accepts($0, $1) }) {
            Transformer.create($0, $1, $2, $3, $4)
        }
    ])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
