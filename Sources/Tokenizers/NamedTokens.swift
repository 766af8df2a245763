import Files
import Support

/// The ids of the tokens that have a purpose, nil where none is known.
struct NamedTokens: Sendable {
    var bos: Int32?
    var eos: Int32?
    var pad: Int32?
    var unknown: Int32?
    var mask: Int32?
    var cls: Int32?
    var sep: Int32?

    init() {}

    /// Reads `tokenizer_config.json` and `special_tokens_map.json` of a model's folder, where they are; the second tells
    /// only what the first does not, if that has `added_tokens_decoder`, and else goes before it. `findID` gives the id of a token of `source`, the file of the vocabulary.
    init(folder: String, source: String, findID: (String) -> Int32?) throws {
        var files: [TokenizerPart] = []
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = FileSystem.join(folder, name)
            guard FileSystem.exists(path) else { continue }
            files.append(TokenizerPart(file: path, path: "", value: try JSON.read(path)))
        }
        // As in transformers the older file goes before one that says nothing of added tokens.
        if files.first?.member("added_tokens_decoder") == nil { files.reverse() }
        func id(_ purpose: String) throws -> Int32? {
            for file in files {
                guard let value = file.member(purpose), value != .null else { continue }
                guard let token = value.stringValue ?? value["content"]?.stringValue else {
                    throw file.error(.format, "must have a string as \"\(purpose)\", found \(value.kind)")
                }
                guard let id = findID(token) else {
                    throw file.error(
                        .incompatible, "has \"\(token)\" as \"\(purpose)\", which is no token of \(source)")
                }
                return id
            }
            return nil
        }
        bos = try id("bos_token")
        eos = try id("eos_token")
        pad = try id("pad_token")
        unknown = try id("unk_token")
        cls = try id("cls_token")
        sep = try id("sep_token")
        mask = try id("mask_token")
    }
}
