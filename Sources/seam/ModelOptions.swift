import ArgumentParser
import Datasets
import Files
import SeamHost
import Support
import Tokenizers
import Trainer

/// The options that say where the model and its tokenizer are, and how to open them.
struct ModelOptions: ParsableArguments {
    @Option(name: .long, help: "The pretrained model: a folder in the Hugging Face layout, or a GGUF file.")
    var model: String?

    @Option(name: .long, help: "Backbone to open it with, when several accept it (see seam plugins).")
    var backbone: String?

    @Option(help: "Option of the backbone as NAME=VALUE (see seam describe BACKBONE). May be repeated.")
    var backboneOption: [String] = []

    /// What to call the model in a report.
    var name: String { model ?? backbone ?? "" }

    func openBackbone(_ runtime: Runtime, settings: [String] = []) throws -> Backbone {
        guard model != nil || backbone != nil else {
            throw ValidationError("Missing expected argument '--model <model>'")
        }
        guard backbone != nil || backboneOption.isEmpty else {
            throw SeamError(.invalidArgument, "--backbone-option needs --backbone, which says whose option it is")
        }
        let options = try backbone.map {
            try parseSettings(
                settings + backboneOption, declared: try runtime.backboneFactory($0).options, flag: "--backbone-option")
        }
        return try Backbone(runtime: runtime, id: backbone, path: model, options: options ?? .null)
    }

    func open(_ runtime: Runtime) throws -> (backbone: Backbone, tokenizer: Tokenizer) {
        let backbone = try openBackbone(runtime)
        return (backbone, try openTokenizer(backbone))
    }

    private func openTokenizer(_ backbone: Backbone) throws -> Tokenizer {
        guard let model else {
            throw SeamError(.unsupported, "\(backbone.name) has no model folder, so no tokenizer")
        }
        return try Tokenizer(model: model)
    }

    /// The model that a classification asks: that of a server if one is named, else the local one.
    func openAnswering(_ runtime: Runtime, _ remote: RemoteOptions) throws -> AnsweringModel {
        var options = self
        if remote.baseUrl != nil { options.backbone = options.backbone ?? DefaultPlugins.serverBackbone }
        let isRemote = options.backbone == DefaultPlugins.serverBackbone
        guard isRemote || !remote.isGiven else {
            throw SeamError(
                .invalidArgument,
                backbone.map {
                    "a server is asked by the backbone \"\(DefaultPlugins.serverBackbone)\", found --backbone \($0)"
                }
                    ?? "--api-model, --api-key and --max-queries are for a server: give --base-url")
        }
        if isRemote, let model {
            throw SeamError(
                .invalidArgument, "--model \(model) is a local model, and a server is to be asked: give one of them")
        }
        remote.exportKey()
        let backbone = try options.openBackbone(runtime, settings: try remote.settings())
        return AnsweringModel(
            session: Session(backbone: backbone),
            name: isRemote ? remote.apiModel ?? remote.baseUrl ?? name : FileSystem.baseName(name),
            tokenizer: backbone.info.architecture == .text ? nil : try openTokenizer(backbone))
    }

    /// The model with saved adapters attached, ready to run.
    func openSession(_ runtime: Runtime, _ adapters: RoutedAdapterOptions) throws -> (
        session: Session, tokenizer: Tokenizer
    ) {
        let (backbone, tokenizer) = try open(runtime)
        let session = Session(backbone: backbone)
        try adapters.attach(to: session)
        return (session, tokenizer)
    }
}

/// A saved adapter, or several, to attach.
struct SavedAdapterOptions: ParsableArguments {
    @Option(
        name: .customLong("adapter"),
        help: """
            Folder of a saved adapter, or of several that were trained together. Repeat for more; they run in the order \
            given. None: the model alone.
            """)
    var paths: [String] = []

    func attach(to session: Session) throws {
        for path in paths {
            try session.attach(all: try AdapterFolder.loadAll(path, backbone: session.backbone))
        }
    }
}

extension PairFormat: ExpressibleByArgument {}

/// A data set of text pairs, how its columns are named, and what a model is given of its sources.
struct PairOptions: ParsableArguments {
    @Option(
        help: """
            What the sources are: text, e2e for meaning representations as name[...], area[...], or audio for paths of \
            sound files. Default: audio for a model of speech, else text.
            """)
    var sourceFormat: PairFormat?

    @Option(help: "Column of the source. Default: source; mr with e2e; audio with audio.")
    var sourceColumn: String?

    @Option(help: "Column of the target text. Default: target; ref with e2e; text with audio.")
    var targetColumn: String?

    @Option(help: "Text in front of every source.")
    var sourcePrefix = ""

    @Option(
        help: """
            Text behind every source. Default: nothing; a line end with e2e and a model that continues its prompt.
            """)
    var sourceSuffix: String?

    @OptionGroup var speech: SpeechTargets

    /// How the sources of the model's data are written.
    /// - Throws: `.invalidArgument` for a format that the model does not read.
    func format(_ info: BackboneInfo) throws -> PairFormat {
        let usual: PairFormat = info.readsFeatures ? .audio : .text
        let format = sourceFormat ?? usual
        guard (format == .audio) == info.readsFeatures else {
            throw SeamError(
                .invalidArgument,
                "--source-format \(format.rawValue) is for models that read \(format == .audio ? "sound" : "texts"), and the model (\(info.family)) reads \(info.readsFeatures ? "sound" : "texts")"
            )
        }
        if format == .audio,
            let flag = sourcePrefix.isEmpty ? sourceSuffix.map({ _ in "--source-suffix" }) : "--source-prefix"
        {
            throw SeamError(.invalidArgument, "\(flag) is of texts, and the sources are sound")
        }
        if format != .audio, let flag = speech.firstGiven {
            throw SeamError(.invalidArgument, "\(flag) is of sound, and the sources are texts")
        }
        return format
    }

    func read(_ path: String, _ tokenizer: Tokenizer, _ session: Session, routeColumn: RouteColumn = .none) throws
        -> TokenPairs
    {
        try tokens(of: texts(path, session.backbone.info, routeColumn: routeColumn), tokenizer, session)
    }

    /// Throws `.unsupported` for a model that writes no texts.
    static func check(_ info: BackboneInfo) throws {
        guard info.architecture == .encoderOnly else { return }
        throw SeamError(
            .unsupported,
            "the model (\(info.family)) is an encoder alone, which reads texts and writes none: pairs of texts need a model"
                + " with a decoder; texts with labels are learned with --task classification, and measured with the"
                + " adapter that this saves")
    }

    /// The pairs as texts, their sources as the model is given them.
    func texts(_ path: String, _ info: BackboneInfo, routeColumn: RouteColumn = .none) throws -> TextPairs {
        try Self.check(info)
        let format = try format(info)
        var options = TextPairs.Options(format: format)
        if let sourceColumn { options.sourceColumn = sourceColumn }
        if let targetColumn { options.targetColumn = targetColumn }
        options.sourcePrefix = sourcePrefix
        let separates = format == .e2e && info.architecture == .decoderOnly
        options.sourceSuffix = sourceSuffix ?? (separates ? "\n" : "")
        options.routeColumn = routeColumn
        return try TextPairs(path, options: options)
    }

    /// Their token ids, none longer than what the session's model reads beside the prefixes of the pair's route.
    func tokens(of texts: TextPairs, _ tokenizer: Tokenizer, _ session: Session) throws -> TokenPairs {
        let info = session.backbone.info
        if info.readsFeatures { return try speech.tokens(of: texts, tokenizer, session) }
        var options = PairDataset.Options()
        if texts.routes.isEmpty {
            options.maxSourceLength = session.textLimits.source
            options.maxTargetLength = session.textLimits.target
        }
        options.decoderStartToken = info.decoderStartToken
        if info.architecture == .decoderOnly {
            guard let end = info.eosTokens.first ?? tokenizer.eosToken else {
                throw SeamError(
                    .unsupported, "neither the model nor its tokenizer names an eos_token, which is to end every target"
                )
            }
            options.continuationEnd = end
        }
        let data = try PairDataset(texts, tokenizer: tokenizer, options: options)
        let pairs = TokenPairs(
            sources: data.sources, targets: data.targets, routes: texts.routes,
            origin: TokenPairs.Origin(name: data.name, lines: data.lines))
        // Each route leaves other lengths.
        if !texts.routes.isEmpty { try pairs.check(fits: session) }
        return pairs
    }
}
