import ArgumentParser
import Files
import Generation
import Session
import Support
import Text
import Trainer

/// What a generated text is compared with its target by.
enum TextMetric: String, CaseIterable, ExpressibleByArgument {
    case exactMatch = "exact-match"
    case bleu, chrf
    case rougeL = "rouge-l"

    func value(_ hypotheses: [String], _ references: [String]) throws -> Double {
        let lists = references.map { [$0] }
        switch self {
        case .exactMatch: return 100 * (try Text.exactMatch(hypotheses: hypotheses, references: lists))
        case .bleu: return try corpusBLEU(hypotheses: hypotheses, references: lists).score
        case .chrf: return try corpusChrF(hypotheses: hypotheses, references: lists)
        case .rougeL: return 100 * (try meanRougeL(hypotheses: hypotheses, references: lists)).fMeasure
        }
    }
}

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Measure a model, with or without adapters, on pairs of texts.",
        discussion: """
            The loss is the mean negative log-probability of a target token, in nats, given the tokens before it. The \
            other metrics, on a scale of 0 to 100, compare generated texts with the targets. With an adapter that was \
            trained to classify, the data are texts with labels, and the loss is that of a text's label.

            Example: seam evaluate --model model --adapter run/adapter --data test.jsonl
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Adapters") var adapters: SavedAdapterOptions

    @Option(help: "Pairs, or labelled texts, to measure on: .jsonl, .csv or .tsv.")
    var data: String

    @OptionGroup(title: "Data") var pairs: PairOptions
    @OptionGroup(title: "Labelled data") var labelled: ClassOptions

    @Option(name: .customLong("metric"), help: "Metric of generated texts; may be repeated. Default: exact-match.")
    var metrics: [TextMetric] = []

    @Flag(help: "Loss and token accuracy only: generate nothing.")
    var lossOnly = false

    @OptionGroup(title: "Generation") var generation: GenerationFlags

    @Option(help: "Pairs in a batch.")
    var batchSize = 32

    @Option(help: "Write every source, target and generated text to this .jsonl file.")
    var predictions: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        guard batchSize > 0 else { throw SeamError(.invalidArgument, "--batch-size must be positive, found \(batchSize)") }
        let (session, tokenizer) = try model.openSession(try common.makeRuntime(), adapters)
        Interruption.watch()
        if session.classes > 0 { return try evaluateClasses(session, tokenizer) }
        let data = try pairs.read(data, tokenizer, session)
        let summary = try score(session, data, batchSize: batchSize, shouldContinue: { !Interruption.isRequested })
        var results: [(key: String, value: JSON)] = [
            (key: "examples", value: .int(Int64(summary.examples))), (key: "loss", value: .double(summary.loss)),
            (key: "token_accuracy", value: .double(100 * summary.accuracy)),
        ]
        if !lossOnly {
            let texts = try generate(session, data, tokenizer)
            for metric in metrics.isEmpty ? [.exactMatch] : metrics {
                let value = try metric.value(texts.hypotheses, texts.references)
                results.append((key: metric.rawValue.replacing("-", with: "_"), value: .double(value)))
            }
        }
        if json {
            print(try JSON.object(results).serialized(indent: 2))
        } else {
            print(formatTable(results.map { [$0.key, fixed($0.value.doubleValue ?? 0, $0.key == "examples" ? 0 : $0.key == "loss" ? 4 : 2)] }))
        }
    }

    private func evaluateClasses(_ session: Session, _ tokenizer: Tokenizer) throws {
        if let metric = metrics.first {
            throw SeamError(.invalidArgument, "--metric \(metric.rawValue) is of generated texts, and the adapter classifies")
        }
        let texts = try labelled.columns.read(data, labels: try session.requireClassLabels())
        let found = try ClassResults(session, tokenizer, texts, options: labelled, batchSize: batchSize)
        if let predictions { try found.write(to: predictions) }
        let results: JSON = [
            "examples": .int(Int64(texts.count)), "loss": .double(found.loss),
            "accuracy": .double(100 * found.metrics.accuracy), "macro_f1": .double(100 * found.metrics.macroF1),
        ]
        if json { return print(try results.serialized(indent: 2)) }
        print(
            formatTable([
                ["examples", "\(texts.count)"], ["loss", fixed(found.loss, 4)],
                ["accuracy", fixed(100 * found.metrics.accuracy, 2)], ["macro_f1", fixed(100 * found.metrics.macroF1, 2)],
            ]))
    }

    private func generate(_ session: Session, _ data: TokenPairs, _ tokenizer: Tokenizer) throws
        -> (hypotheses: [String], references: [String])
    {
        let options = try generation.options(for: session)
        var progress = ProgressLine()
        let start = monotonicSeconds()
        let generated = try generateAll(
            session, sources: data.sources, batchSize: batchSize, options: options,
            progress: { done in
                let seconds = (monotonicSeconds() - start) / Double(done)
                progress.show(
                    "generated \(done)/\(data.count)  \(fixed(1 / seconds, 1)) texts/s  \(duration(seconds * Double(data.count - done))) left",
                    isLast: done == data.count)
                return !Interruption.isRequested
            })
        let hypotheses = try generated.map { try tokenizer.decode($0) }
        let references = try data.targets.map { try tokenizer.decode($0) }
        if let predictions {
            let lines = try data.sources.indices.map { index in
                let record: JSON = [
                    "source": .string(try tokenizer.decode(data.sources[index])), "target": .string(references[index]),
                    "prediction": .string(hypotheses[index]),
                ]
                return try record.serialized() + "\n"
            }
            try FileSystem.atomicWriteFile(predictions, text: lines.joined())
        }
        return (hypotheses, references)
    }
}
