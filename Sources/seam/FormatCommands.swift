import AdapterFormats
import ArgumentParser
import SeamHost
import Support

/// Formats of the programs that trained adapters are exchanged with: folders of PEFT, files of llama.cpp.
enum AdapterFormat: String, CaseIterable, ExpressibleByArgument {
    case peft, gguf
}

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write trained adapters for another program.",
        discussion: """
            With --format peft: a folder for PeftModel.from_pretrained, of a LoRA or IA3 adapter, or of the prefix or the \
            prompt that the adapters give together. Networks and gates are computed away. With \
            --format gguf: a file for llama-cli, of a LoRA adapter (--lora) or of a control vector \
            (--control-vector). With --overwrite what is there of that format is replaced, nothing else.

            Example: seam export --model model --adapter run/adapter --format peft --output peft-lora
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Adapters") var adapters: SavedAdapterOptions

    @Option(help: "What to write.")
    var format: AdapterFormat

    @Option(help: "base_model_name_or_path in the folder: where those who load it find the model. None: left open.")
    var baseModel: String?

    @Option(help: "Folder to write; with gguf the file.")
    var output: String

    @OptionGroup var replacing: OverwriteOption

    @OptionGroup var common: CommonOptions

    func run() throws {
        try replacing.check(output)
        guard format == .peft || baseModel == nil else {
            throw SeamError(.invalidArgument, "--base-model is for --format peft, whose folders name the model")
        }
        let session = Session(backbone: try model.openBackbone(try common.makeRuntime()))
        try adapters.attach(to: session)
        switch format {
        case .peft: try PEFTAdapters.export(session, baseModel: baseModel, replaces: replacing.overwrite, to: output)
        case .gguf: try LlamaCppAdapters.export(session, replaces: replacing.overwrite, to: output)
        }
    }
}

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Make an adapter of one that another program trained.",
        discussion: """
            With --format peft: a folder of PEFT's LoRA becomes an adapter lora, one of its IA3 an adapter ia3, one of its \
            prefix tuning an adapter prefix-tuning, one of its cartridges an adapter cartridge, one of its prompt tuning or \
            P-tuning an adapter prompt-tuning. All of them can be trained on. With --format gguf: a LoRA of llama.cpp \
            becomes an adapter lora, a control vector an adapter control-vector. With --overwrite an adapter of SeamKit's \
            is replaced, nothing else.

            Example: seam import --model model --format peft --input peft-lora --output adapter
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "What to read.")
    var format: AdapterFormat

    @Option(help: "Folder, or with gguf file, that the other program wrote.")
    var input: String

    @Option(help: "Folder of the adapter to write.")
    var output: String

    @OptionGroup var replacing: OverwriteOption

    @OptionGroup var common: CommonOptions

    func run() throws {
        try replacing.check(output)
        let backbone = try model.openBackbone(try common.makeRuntime())
        switch format {
        case .peft:
            try PEFTAdapters.importAdapter(
                from: input, backbone: backbone, replaces: replacing.overwrite, to: output)
        case .gguf:
            try LlamaCppAdapters.importAdapter(
                from: input, backbone: backbone, replaces: replacing.overwrite, to: output)
        }
    }
}
