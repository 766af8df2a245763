import ArgumentParser
import Files
import Support

struct ConvertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Make a folder in the Hugging Face layout of a model in CTranslate2's.",
        discussion: """
            Reads Whisper models with weights of float32, float16, bfloat16 and int8; int8 becomes f32. Nothing of the \
            folder is executed. The folder that is written has weights, settings, the sizes of its features and the \
            tokenizer, which must be in the one that is read (tokenizer.json).

            Example: seam convert --model faster-whisper-tiny --output whisper-tiny
            """)

    @Option(help: "Folder of the model that CTranslate2's converter wrote.")
    var model: String

    @Option(help: "Folder of the model to write.")
    var output: String

    @OptionGroup var replacing: OverwriteOption

    func run() throws {
        try replacing.check(output)
        MappedFile.watchForLostPages()
        try CTranslate2Folder.convert(model, replaces: replacing.overwrite, to: output)
    }
}
