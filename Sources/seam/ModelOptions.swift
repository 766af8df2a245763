import ArgumentParser
import Files
import Session
import Support
import Text
import Trainer

/// Where the model and its tokenizer are, and how to open them.
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
            throw SeamError(.unsupported, "backbone \"\(backbone.factory.id)\" has no model folder, so no tokenizer")
        }
        return try Tokenizer(model: model)
    }

    /// The model that a classification asks: that of a server if one is named, else the local one.
    func openAnswering(_ runtime: Runtime, _ remote: RemoteOptions) throws -> AnsweringModel {
        var options = self
        if remote.baseUrl != nil { options.backbone = options.backbone ?? "remote" }
        let isRemote = options.backbone == "remote"
        guard isRemote || !remote.isGiven else {
            throw SeamError(
                .invalidArgument,
                backbone.map { "a server is asked by the backbone \"remote\", found --backbone \($0)" }
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
    func openSession(_ runtime: Runtime, _ adapters: SavedAdapterOptions) throws -> (session: Session, tokenizer: Tokenizer) {
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
        help: "Folder of a saved adapter. Repeat for several; they run in the order given. None: the model alone.")
    var paths: [String] = []

    func attach(to session: Session) throws {
        for path in paths { try session.attach(try AdapterFolder.load(path, backbone: session.backbone)) }
    }
}

extension PairFormat: ExpressibleByArgument {}

/// A data set of text pairs, how its columns are named, and what a model is given of its sources.
struct PairOptions: ParsableArguments {
    @Option(help: "How the sources are written: text, or e2e for meaning representations as name[...], area[...].")
    var sourceFormat = PairFormat.text

    @Option(help: "Column of the source text. Default: source; mr with e2e.")
    var sourceColumn: String?

    @Option(help: "Column of the target text. Default: target; ref with e2e.")
    var targetColumn: String?

    @Option(help: "Text in front of every source.")
    var sourcePrefix = ""

    @Option(
        help: """
            Text behind every source. Default: nothing; a line end with e2e and a model that continues its prompt.
            """)
    var sourceSuffix: String?

    func read(_ path: String, _ tokenizer: Tokenizer, _ backbone: Backbone) throws -> TokenPairs {
        try tokens(of: texts(path, backbone.info), tokenizer, backbone.info)
    }

    /// The pairs as texts, their sources as the model is given them.
    func texts(_ path: String, _ info: BackboneInfo) throws -> TextPairs {
        var options = TextPairs.Options(format: sourceFormat)
        if let sourceColumn { options.sourceColumn = sourceColumn }
        if let targetColumn { options.targetColumn = targetColumn }
        options.sourcePrefix = sourcePrefix
        let separates = sourceFormat == .e2e && info.architecture == .decoderOnly
        options.sourceSuffix = sourceSuffix ?? (separates ? "\n" : "")
        return try TextPairs(path, options: options)
    }

    /// Their token ids.
    func tokens(of texts: TextPairs, _ tokenizer: Tokenizer, _ info: BackboneInfo) throws -> TokenPairs {
        var options = PairDataset.Options()
        if info.maxSourcePositions > 0 { options.maxSourceLength = info.maxSourcePositions }
        if info.maxTargetPositions > 0 { options.maxTargetLength = info.maxTargetPositions }
        options.decoderStartToken = info.decoderStartToken
        if info.architecture == .decoderOnly {
            guard let end = info.eosToken ?? tokenizer.eosToken else {
                throw SeamError(
                    .unsupported, "neither the model nor its tokenizer names an eos_token, which is to end every target")
            }
            options.continuationEnd = end
        }
        let data = try PairDataset(texts, tokenizer: tokenizer, options: options)
        return TokenPairs(sources: data.sources, targets: data.targets)
    }
}

/// Options given as name=value, against the options that a factory declares.
///
/// With several adapters a name may be qualified: repcali.lambda=0.5.
func parseOptions(_ settings: [String], for factory: AdapterFactory, among all: [AdapterFactory]) throws -> JSON {
    let mine = settings.compactMap { setting -> String? in
        guard let owner = all.first(where: { setting.hasPrefix($0.id + ".") }) else { return setting }
        return owner.id == factory.id ? String(setting.dropFirst(owner.id.count + 1)) : nil
    }
    return try parseSettings(mine, declared: factory.options, flag: "--option")
}

/// NAME=VALUE settings as a JSON object; a value is a text where the option declares one.
func parseSettings(_ settings: [String], declared: [DeclaredOption], flag: String) throws -> JSON {
    .object(
        try settings.map { setting in
            guard let equals = setting.firstIndex(of: "=") else {
                throw SeamError(.invalidArgument, "\(flag) must be NAME=VALUE, found \"\(setting)\"")
            }
            let name = String(setting[..<equals])
            let text = String(setting[setting.index(after: equals)...])
            let isText = declared.first { $0.name == name }?.kind == .string
            return (key: name, value: isText ? .string(text) : parseValue(text))
        })
}

/// A number, true or false; anything else as a text, which the option then refuses by its name.
private func parseValue(_ text: String) -> JSON {
    // A lone value is no JSON document to every parser: wrap it. "0,5" must not pass as a list of two.
    guard let values = try? JSON.parse("[\(text)]", name: "").arrayValue, values.count == 1 else { return .string(text) }
    return values[0]
}
