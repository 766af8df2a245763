import ArgumentParser
import Files
import SeamHost
import Support

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Write a model with trained adapters in its weights.",
        discussion: """
            For adapters that are linear in the weights of the layers, such as lora and ia3. The folder is an ordinary one \
            in the Hugging Face layout, which needs no SeamKit: matrices that the adapters change are written in f32, all \
            else is copied, but for the tokenizer of a GGUF file, which stays there. The model itself stays as it is.

            Example: seam merge --model model --adapter run/adapter --output merged
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Adapters") var adapters: SavedAdapterOptions

    @Option(help: "Folder of the model to write.")
    var output: String

    @Flag(help: "Write quantised weights (GGUF) in f32, several times as large; without it such a model is refused.")
    var dequantize = false

    @OptionGroup var replacing: OverwriteOption

    @OptionGroup var common: CommonOptions

    func run() throws {
        try replacing.check(output)
        guard !adapters.paths.isEmpty else {
            throw ValidationError("Missing expected argument '--adapter <adapter> ...'")
        }
        try FileSystem.checkApart([model.model].compactMap(\.self) + adapters.paths, from: [output])
        let session = Session(backbone: try model.openBackbone(try common.makeRuntime()))
        try adapters.attach(to: session)
        for adapter in session.adapters { try session.merge(adapter) }
        try session.saveMergedModel(dequantizes: dequantize, replaces: replacing.overwrite, to: output)
    }
}
