import ArgumentParser
import Files
import Support

struct ConvertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Make a folder in the Hugging Face layout of a model in CTranslate2's.",
        discussion: """
            Reads Whisper and Marian models with weights of float32, float16, bfloat16 and int8; int8 becomes f32. \
            Nothing of the folder is executed. The folder that is written has weights, settings, Whisper's sizes of \
            features and the tokenizer, which must be in the one that is read: tokenizer.json of Whisper, source.spm and \
            target.spm of Marian.

            Example: seam convert --model faster-whisper-tiny --output whisper-tiny
            Example: seam convert --model opus-mt-en-de-ctranslate2 --output opus-mt-en-de
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
