import ArgumentParser
import Files
import Generation
import Metrics
import SeamHost
import Support
import Tokenizers
import Trainer

extension TextMetric: ExpressibleByArgument {}

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Measure a model, with or without adapters, on pairs of texts.",
        discussion: """
            The loss is the mean negative log-probability of a target token, in nats, given the tokens before it. The \
            other metrics compare generated texts with the targets, on a scale of 0 to 100, but nist, which has no \
            upper end, cider, of 0 to 10, and the error rates wer and cer in percent, of which lower is better. With an adapter that was trained to classify, the data are texts with \
            labels, and the loss is that of a text's label. Rows may take different adapters: one that is given as \
            NAME=FOLDER is for those whose route is NAME; the figures are of all rows together.

            Example: seam evaluate --model model --adapter run/adapter --data test.jsonl
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Adapters") var adapters: RoutedAdapterOptions

    @Option(help: "Pairs, or labelled texts, to measure on: .jsonl, .csv or .tsv.")
    var data: String

    @OptionGroup(title: "Data") var pairs: PairOptions
    @OptionGroup(title: "Labelled data") var labelled: ClassOptions
    @OptionGroup(title: "Routes") var routes: RouteColumnOption

    @Option(
        name: .customLong("metric"),
        help: """
            Metric of generated texts; may be repeated. Default: exact-match; with e2e those of the E2E challenge \
            (bleu-mteval, nist, rouge-l-coco, cider).
            """)
    var metrics: [TextMetric] = []

    @Flag(
        help: """
            Take the targets of equal sources for several references of one text, which is generated once. Always so \
            with e2e.
            """)
    var multiReference = false

    @Flag(help: "Loss and token accuracy only: generate nothing.")
    var lossOnly = false

    @OptionGroup(title: "Generation") var generation: GenerationFlags

    @Option(help: "Pairs in a batch.")
    var batchSize = 32

    @Option(help: "Write every source, its targets and the generated text to this .jsonl file.")
    var predictions: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        guard batchSize > 0 else {
            throw SeamError(.invalidArgument, "--batch-size must be positive, found \(batchSize)")
        }
        if let predictions {
            try FileSystem.checkApart(
                [data]
                    + ([model.model].compactMap { $0 } + adapters.parts.map(\.path)).flatMap {
                        FileSystem.filesBelow($0)
                    },
                from: [predictions])
            try FileSystem.checkWritable(predictions)
        }
        let (session, tokenizer) = try model.openSession(try common.makeRuntime(), adapters)
        Interruption.watch()
        if session.isClassification { return try evaluateClasses(session, tokenizer) }
        try checkLossOnly()
        if labelled.truncate {
            throw SeamError(
                .invalidArgument,
                "--truncate is for adapters that classify\(session.backbone.info.readsFeatures ? "; of sound it is --truncation" : "")"
            )
        }
        let texts = try pairs.texts(data, session.backbone.info, routeColumn: routes.column)
        adapters.warnOfUntaken(by: texts.routes)
        if session.backbone.info.readsFeatures {
            try FileSystem.checkApart(texts.sources, from: [predictions].compactMap(\.self))
        }
        let data = try pairs.tokens(of: texts, tokenizer, session)
        let summary = try score(session, data, batchSize: batchSize, shouldContinue: { !Interruption.isRequested })
        var results: [(key: String, value: JSON)] = [
            (key: "examples", value: .int(Int64(summary.examples))), (key: "loss", value: .double(summary.loss)),
            (key: "token_accuracy", value: .double(100 * summary.accuracy)),
        ]
        if !lossOnly {
            let format = try pairs.format(session.backbone.info)
            let isE2E = format == .e2e
            let groups = ReferencedTexts(texts, tokens: data, areGrouped: multiReference || isE2E)
            if multiReference || isE2E { results.append((key: "sources", value: .int(Int64(groups.sources.count)))) }
            let hypotheses = try generate(session, groups, tokenizer)
            if let predictions { try write(predictions, groups, hypotheses) }
            let usual: [TextMetric] = isE2E ? TextMetric.e2e : format == .audio ? [.wer, .cer] : [.exactMatch]
            let names = metrics.isEmpty ? usual : metrics
            for (name, value) in try TextMetric.compute(names, hypotheses: hypotheses, references: groups.references) {
                results.append((key: name, value: .double(value)))
            }
        }
        if json {
            print(try JSON.object(results).serialized(indent: 2))
        } else {
            print(formatTable(results.map { [$0.key, fixed($0.value.doubleValue ?? 0, decimals($0.key))] }))
        }
    }

    /// Refuses what is only of generated texts where none are generated.
    private func checkLossOnly() throws {
        guard lossOnly else { return }
        let given = [
            ("--predictions", predictions != nil), ("--metric", !metrics.isEmpty),
            ("--multi-reference", multiReference),
        ]
        guard let flag = given.first(where: \.1)?.0 ?? generation.firstGiven else { return }
        throw SeamError(
            .invalidArgument, "\(flag) is of generated texts, and --loss-only generates none: leave one of them out")
    }

    private func decimals(_ key: String) -> Int {
        switch key {
        case "examples", "sources": 0
        case "loss", "nist", "cider": 4
        default: 2
        }
    }

    private func evaluateClasses(_ session: Session, _ tokenizer: Tokenizer) throws {
        if let metric = metrics.first {
            throw SeamError(
                .invalidArgument, "--metric \(metric.rawValue) is of generated texts, and the adapter classifies")
        }
        if let flag = multiReference ? "--multi-reference" : generation.firstGiven {
            throw SeamError(.invalidArgument, "\(flag) is of generated texts, and the adapter classifies")
        }
        let texts = try labelled.columns.read(
            data, labels: try session.requireClassLabels(), routeColumn: routes.column)
        adapters.warnOfUntaken(by: texts.routes)
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
                ["accuracy", fixed(100 * found.metrics.accuracy, 2)],
                ["macro_f1", fixed(100 * found.metrics.macroF1, 2)],
            ]))
    }

    private func generate(_ session: Session, _ texts: ReferencedTexts, _ tokenizer: Tokenizer) throws -> [String] {
        let sources = texts.sources
        let options = try pairs.speech.spoken.applied(to: try generation.options(for: session, tokenizer))
        var progress = ProgressLine()
        let start = monotonicSeconds()
        let generated = try generateAll(
            session, sources, batchSize: batchSize, options: options,
            progress: { done in
                let seconds = (monotonicSeconds() - start) / Double(done)
                let left = duration(seconds * Double(sources.count - done))
                progress.show(
                    "generated \(done)/\(sources.count)  \(fixed(1 / seconds, 1)) texts/s  \(left) left",
                    isLast: done == sources.count)
                return !Interruption.isRequested
            })
        // A model of speech begins with a space.
        let isSpoken = session.backbone.info.readsFeatures
        return try generated.map { tokens in
            let text = try tokenizer.decode(tokens)
            return isSpoken && text.hasPrefix(" ") ? String(text.dropFirst()) : text
        }
    }

    /// One reference is written as "target", several as "targets".
    private func write(_ path: String, _ texts: ReferencedTexts, _ hypotheses: [String]) throws {
        let lines = try texts.sourceTexts.indices.map { index in
            let targets = texts.references[index]
            let source = (key: "source", value: JSON.string(texts.sourceTexts[index]))
            let own: [(key: String, value: JSON)] = [
                targets.count == 1
                    ? (key: "target", value: .string(targets[0]))
                    : (key: "targets", value: .array(targets.map { .string($0) })),
                (key: "prediction", value: .string(hypotheses[index])),
            ]
            return try JSON.object([source] + routeMember(texts.routes, index) + own).serialized() + "\n"
        }
        try FileSystem.atomicWriteFile(
            path, text: lines.joined(), shouldContinue: { !Interruption.isRequested })
    }
}
