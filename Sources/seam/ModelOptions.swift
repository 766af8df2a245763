import ArgumentParser
import Files
import Session
import Support
import Text
import Trainer

/// Where the model and its tokenizer are, and how to open them.
struct ModelOptions: ParsableArguments {
    @Option(name: .long, help: "The pretrained model: a folder in the Hugging Face layout, or a GGUF file.")
    var model: String

    @Option(name: .long, help: "Backbone to open it with, when several accept it (see seam plugins).")
    var backbone: String?

    func openBackbone(_ runtime: Runtime) throws -> Backbone {
        try Backbone(runtime: runtime, id: backbone, path: model)
    }

    func open(_ runtime: Runtime) throws -> (backbone: Backbone, tokenizer: Tokenizer) {
        (try openBackbone(runtime), try Tokenizer(folder: model))
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

/// A data set of text pairs and how its columns are named.
struct PairOptions: ParsableArguments {
    @Option(help: "Column of the source text.")
    var sourceColumn = "source"

    @Option(help: "Column of the target text.")
    var targetColumn = "target"

    func read(_ path: String, _ tokenizer: Tokenizer, _ backbone: Backbone) throws -> TokenPairs {
        let info = backbone.info
        var options = PairDataset.Options()
        options.sourceColumn = sourceColumn
        options.targetColumn = targetColumn
        if info.maxSourcePositions > 0 { options.maxSourceLength = info.maxSourcePositions }
        if info.maxTargetPositions > 0 { options.maxTargetLength = info.maxTargetPositions }
        options.decoderStartToken = info.decoderStartToken
        let data = try PairDataset(path, tokenizer: tokenizer, options: options)
        return TokenPairs(sources: data.sources, targets: data.targets)
    }
}

/// Options given as name=value, against the options that a factory declares.
///
/// With several adapters a name may be qualified: repcali.lambda=0.5.
func parseOptions(_ settings: [String], for factory: AdapterFactory, among all: [AdapterFactory]) throws -> JSON {
    var members: [(key: String, value: JSON)] = []
    for setting in settings {
        guard let equals = setting.firstIndex(of: "=") else {
            throw SeamError(.invalidArgument, "--option must be NAME=VALUE, found \"\(setting)\"")
        }
        var name = String(setting[..<equals])
        let text = String(setting[setting.index(after: equals)...])
        if let owner = all.first(where: { name.hasPrefix($0.id + ".") }) {
            guard owner.id == factory.id else { continue }
            name = String(name.dropFirst(owner.id.count + 1))
        }
        let isText = factory.options.first { $0.name == name }?.kind == .string
        members.append((key: name, value: isText ? .string(text) : parseValue(text)))
    }
    return .object(members)
}

/// A number, true or false; anything else as a text, which the option then refuses by its name.
private func parseValue(_ text: String) -> JSON {
    // A lone value is no JSON document to every parser: wrap it. "0,5" must not pass as a list of two.
    guard let values = try? JSON.parse("[\(text)]", name: "").arrayValue, values.count == 1 else { return .string(text) }
    return values[0]
}
