import Files
import Generation
import Metrics
import SeamHost
import Support
import Sweeps
import Tokenizers
import Trainer

/// The data sets of a sweep, read once, and how its models are measured on them.
struct SweepData {
    let training: TokenPairs
    let development: TokenPairs
    let test: TokenPairs?
    /// Names of the classes; empty for pairs of texts.
    let labels: [String]
    private let texts: [SweepTask.Part: ReferencedTexts]
    private let metrics: [TextMetric]
    /// Nil where nothing is generated.
    private let generation: GenerationOptions?
    private let batchSize: Int
    private let evalLimit: Int
    private let tokenizer: Tokenizer

    init(
        _ command: SweepCommand, train: String, dev: String, test: String?, _ backbone: Backbone, _ tokenizer: Tokenizer
    ) throws {
        let session = Session(backbone: backbone)
        self.tokenizer = tokenizer
        (metrics, batchSize, evalLimit) = (command.metrics, command.training.batchSize, command.evalLimit)
        generation = try command.metrics.isEmpty ? nil : command.generation.options(for: session, tokenizer)
        var texts: [SweepTask.Part: ReferencedTexts] = [:]
        let read: (String, SweepTask.Part?) throws -> TokenPairs
        if command.task == .classification {
            let columns = command.labelled.columns
            let names = try columns.read(train, labels: nil).sortedLabelNames
            guard names.count >= 2 else {
                throw SeamError(
                    .invalidArgument,
                    "\(train): a classification needs 2 labels or more, found \(names.joined(separator: ","))")
            }
            labels = names
            read = { path, _ in
                try command.labelled.tokens(of: columns.read(path, labels: names), tokenizer, session)
            }
        } else {
            labels = []
            read = { path, part in
                let pairs = try command.pairs.texts(path, backbone.info)
                let tokens = try command.pairs.tokens(of: pairs, tokenizer, session)
                if let part {
                    texts[part] = ReferencedTexts(
                        pairs, tokens: tokens, areGrouped: command.pairs.sourceFormat == .e2e, limit: command.evalLimit)
                }
                return tokens
            }
        }
        training = try read(train, nil)
        development = try read(dev, .development)
        self.test = try test.map { try read($0, .test) }
        self.texts = texts
    }

    /// What the report begins with.
    var metric: SweepMetric {
        if !labels.isEmpty { return SweepMetric("accuracy") }
        return metrics.first.map { SweepMetric($0.rawValue.replacing("-", with: "_")) } ?? .loss
    }

    /// What generated texts depend on beside the run.
    var settings: [(key: String, value: JSON)] {
        guard let generation else { return [("metrics", [])] }
        return [
            ("metrics", .array(metrics.map { .string($0.rawValue) })), ("eval_limit", .int(Int64(evalLimit))),
            ("max_new_tokens", generation.maxLength == nil ? .int(Int64(generation.maxNewTokens)) : .null),
            ("max_length", generation.maxLength.map { .int(Int64($0)) } ?? .null),
            ("min_new_tokens", .int(Int64(generation.minNewTokens))),
            ("repetition_penalty", .double(Double(generation.repetitionPenalty))),
            ("no_repeat_ngram_size", .int(Int64(generation.noRepeatNgramSize))),
            ("beams", .int(Int64(generation.beams))),
            ("length_penalty", .double(generation.lengthPenalty)), ("sample", .bool(generation.sample)),
            ("temperature", .double(Double(generation.temperature))), ("top_p", .double(generation.topP)),
            ("top_k", .int(Int64(generation.topK))), ("sample_seed", .string("\(generation.seed)")),
        ]
    }

    /// Throws `.invalidArgument` for a session whose prefix leaves no room for the texts that are to be generated, so that
    /// a run does not find out at its end.
    func check(_ session: Session) throws {
        guard let generation else { return }
        let limits = session.textLimits
        let isContinuation = session.backbone.info.architecture == .decoderOnly
        let longest = isContinuation ? texts.values.flatMap(\.sources.sources).map(\.count).max() ?? 0 : 0
        guard let limit = isContinuation ? limits.source : limits.target else { return }
        if generation.maxLength != nil || generation.fitsRoom, longest < limit {
            _ = try generation.limit(behind: longest)
            return
        }
        guard generation.maxNewTokens > limit - longest else { return }
        throw SeamError(
            .invalidArgument,
            "--max-new-tokens must be at most \(max(0, limit - longest)), which the model's positions leave beside "
                + "prefix and source, found \(generation.maxNewTokens)")
    }

    /// The metrics of texts that a session generates.
    func measure(_ session: Session, _ part: SweepTask.Part) throws -> [(metric: SweepMetric, value: Double)] {
        guard let generation, let texts = texts[part] else { return [] }
        var progress = ProgressLine()
        let generated = try generateAll(
            session, texts.sources, batchSize: batchSize, options: generation,
            progress: { done in
                // Not stopped here: the run would be lost, which needs nothing but this.
                let note = Interruption.isRequested ? ", then stops" : ""
                progress.show("generated \(done)/\(texts.sources.count)\(note)", isLast: done == texts.sources.count)
                return true
            })
        let hypotheses = try generated.map { try tokenizer.decode($0) }
        return try TextMetric.compute(metrics, hypotheses: hypotheses, references: texts.references).map {
            (SweepMetric($0.name), $0.value)
        }
    }
}
