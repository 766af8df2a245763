import ArgumentParser
import Files
import Generation
import Session
import Support
import Text
import Trainer

/// How to generate; what is not given comes from the model's generation_config.json.
struct GenerationFlags: ParsableArguments {
    @Option(help: "Most tokens to generate.")
    var maxNewTokens: Int?

    @Option(name: .customLong("beams"), help: "Beams of a beam search; 1 is greedy.")
    var beams: Int?

    @Option(help: "Exponent of the length in a beam's score; above 0 favours long texts.")
    var lengthPenalty: Double?

    @Flag(help: "Draw tokens at random instead of taking the most probable.")
    var sample = false

    @Option(help: "With --sample: divides the scores; above 1 is more random.")
    var temperature: Double?

    @Option(help: "With --sample: draw among the fewest tokens whose probabilities reach this sum.")
    var topP: Double?

    @Option(help: "With --sample: draw among this many best tokens; 0 for all.")
    var topK: Int?

    @Option(name: .customLong("sample-seed"), help: "With --sample: seed.")
    var sampleSeed: UInt64 = 0

    func options(for session: Session) throws -> GenerationOptions {
        var options = try session.defaultGenerationOptions()
        if let maxNewTokens { options.maxNewTokens = maxNewTokens }
        if let beams { options.beams = beams }
        if let lengthPenalty { options.lengthPenalty = lengthPenalty }
        if let temperature { options.temperature = Float(temperature) }
        if let topP { options.topP = topP }
        if let topK { options.topK = topK }
        options.sample = sample
        options.seed = sampleSeed
        try options.validate(vocabularySize: session.backbone.info.vocabSize)
        return options
    }
}

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Generate a target for every source text.",
        discussion: "Example: seam generate --model model --adapter run/adapter \"CCO\" \"c1ccccc1O\"")

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Adapters") var adapters: SavedAdapterOptions

    @Argument(help: "Source texts. None: one a line from standard input.")
    var texts: [String] = []

    @OptionGroup(title: "Generation") var generation: GenerationFlags

    @Option(help: "Texts in a batch.")
    var batchSize = 32

    @OptionGroup var common: CommonOptions

    func run() throws {
        guard batchSize > 0 else { throw SeamError(.invalidArgument, "--batch-size must be positive, found \(batchSize)") }
        let (session, tokenizer) = try model.openSession(try common.makeRuntime(), adapters)
        var sources = texts
        if sources.isEmpty { while let line = readLine() { sources.append(line) } }
        guard !sources.isEmpty else { throw SeamError(.invalidArgument, "there is no source text") }
        let given = GivenTexts(texts: sources, isStandardInput: texts.isEmpty)
        Interruption.watch()
        let generated = try generateAll(
            session, sources: try given.tokens(tokenizer, session), batchSize: batchSize,
            options: try generation.options(for: session), progress: { _ in !Interruption.isRequested })
        for tokens in generated { print(try tokenizer.decode(tokens)) }
    }
}
