import Files
import Tokenizers

/// A tokenizer of a folder with a tokenizer.json and other files.
public func makeTokenizer(_ file: JSON, beside files: [String: String] = [:]) throws -> Tokenizer {
    let folder = try ScratchFolder(files)
    try folder.write("tokenizer.json", file.serialized())
    return try Tokenizer(folder: folder.path)
}
