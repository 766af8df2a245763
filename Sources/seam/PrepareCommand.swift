import ArgumentParser
import Datasets
import Files
import SeamHost
import Support
import Tokenizers
import Trainer

struct PrepareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare",
        abstract: "Make adapters from examples without training.",
        discussion: """
            For adapters that start from what flows through the model: from labelled texts, or on a prefix from one text, \
            whose keys and values the model is then given instead. The model reads the texts once, or several times where \
            they do not fit into memory together. Writes a folder of adapters, which other commands take with --adapter, and \
            seam train trains further with --init-adapter.

            Example: seam prepare --model model --adapter control-vector --train pairs.tsv --labels other,wanted \
            --option layers=8-20 --output vector
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "Adapter to prepare (see seam plugins); several, attached one after the other, as a+b.")
    var adapter: String

    @Option(help: "Folder of a saved adapter, or of several, that the texts are read through. May be repeated.")
    var initAdapter: [String] = []

    @Option(
        name: .customLong("option"),
        help: """
            Option of the adapter as NAME=VALUE (see seam describe ADAPTER), or as ADAPTER.NAME=VALUE where several have \
            it. May be repeated.
            """)
    var settings: [String] = []

    @Option(help: "Labelled texts to start from: .jsonl, .csv or .tsv.")
    var train: String?

    @Option(help: "One text to start from, for a prefix.")
    var text: String?

    @Option(help: "File with one text to start from.")
    var textFile: String?

    @OptionGroup(title: "Labelled data") var labelled: ClassOptions

    @Option(help: "Labels in their order, the first is class 0, joined by commas. Default: those of the texts, sorted.")
    var labels: String?

    @Option(help: "Texts that the model reads at once.")
    var batchSize = 32

    @Option(help: "Seed of the values that are not prepared.")
    var seed: UInt64 = 0

    @Option(help: "Folder of adapters to write.")
    var output: String

    @OptionGroup var replacing: OverwriteOption

    @OptionGroup var common: CommonOptions

    func run() throws {
        try checkSource()
        try replacing.check(output)
        try FileSystem.checkApart(
            [model.model, train, textFile].compactMap(\.self) + initAdapter, from: [output])
        let runtime = try common.makeRuntime()
        let (backbone, tokenizer) = try model.open(runtime)
        let session = Session(backbone: backbone)
        for path in initAdapter { try session.attach(all: try AdapterFolder.loadAll(path, backbone: backbone)) }
        // Before the adapter is attached: the text is read without it.
        let (batches, names) = try examples(tokenizer, session)
        let new = try AdapterComposition(parsing: adapter, options: settings, in: runtime)
            .attach(to: session, classes: names.count, seed: seed)
        guard new.contains(where: \.startsFromExamples) else {
            throw SeamError(
                .invalidArgument, "--adapter \(adapter) starts from no examples: it is trained, with seam train")
        }
        if session.classes > 0, try session.classLabels == nil { try session.nameClasses(names) }
        try prepare(new, in: session, from: batches)
        let source = train.map { "- prepared from: \($0) (\(batches.reduce(0) { $0 + $1.count }) texts)" }
        try AdapterFolder.saveAll(
            session.adapters, backbone: backbone, isBackboneTrained: false,
            notes:
                "- model: \(model.name)\n\(source ?? textFile.map { "- prepared from: \($0)" } ?? "- prepared from a text")",
            to: output)
        print("saved \(session.adapters.map(\.factory.id).joined(separator: " + ")) to \(output)")
    }

    private func checkSource() throws {
        let given = [("--train", train), ("--text", text), ("--text-file", textFile)].filter { $0.1 != nil }
        guard given.count == 1 else {
            let found = given.isEmpty ? "none" : given.map(\.0).joined(separator: " and ")
            throw SeamError(.invalidArgument, "give one of --train, --text and --text-file, found \(found)")
        }
        if train == nil, let flag = labels != nil ? "--labels" : labelled.firstGiven {
            throw SeamError(.invalidArgument, "\(flag) is for the labelled texts of --train")
        }
        guard batchSize > 0 else {
            throw SeamError(.invalidArgument, "--batch-size must be positive, found \(batchSize)")
        }
    }

    /// The examples, in the order of their file, and the names of their classes.
    private func examples(_ tokenizer: Tokenizer, _ session: Session) throws -> (batches: [Batch], labels: [String]) {
        let info = session.backbone.info
        guard let train else {
            let (text, place) = try textFile.map { (try FileSystem.readText($0), $0) } ?? (self.text ?? "", "--text")
            let ids = try GivenTexts.tokens(text, tokenizer, limit: session.textLimits.source, place: place)
            return ([try Batch(sources: [ids], info: info)], [])
        }
        let names = try ClassOptions.names(labels) ?? labelled.columns.read(train, labels: nil).sortedLabelNames
        let data = try labelled.tokens(of: try labelled.columns.read(train, labels: names), tokenizer, session)
        return (
            try batches(Array(0..<data.count), size: batchSize).map { try data.batch($0, info: info) }, names
        )
    }

    private func prepare(_ adapters: [Adapter], in session: Session, from batches: [Batch]) throws {
        var progress = ProgressLine()
        Interruption.watch()
        try session.prepare(all: adapters, from: batches) { adapter, done, total in
            if done > 0 {
                progress.show("\(adapter.factory.id): read \(done)/\(total) batches", isLast: done == total)
            }
            return !Interruption.isRequested
        }
    }
}
