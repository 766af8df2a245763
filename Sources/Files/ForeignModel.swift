import Support

/// What a folder holds where it is no model in the Hugging Face layout with safetensors: other programs' formats, named
/// as what they are, with what makes a readable model of them.
enum ForeignModel {
    private static let export = "save the original with transformers (save_pretrained)"

    /// The sentence for a folder with these names that lacks `missing`.
    static func error(_ path: String, _ names: [String], missing: String) -> SeamError {
        guard let (what, remedy) = kind(names) else {
            return SeamError(.notFound, "the model folder \"\(path)\" has \(missing)")
        }
        return SeamError(.unsupported, "the model folder \"\(path)\" holds \(what); \(remedy)")
    }

    private static func kind(_ names: [String]) -> (what: String, remedy: String)? {
        func first(_ matches: (String) -> Bool) -> String? { names.first(where: matches) }
        if names.contains("modules.json"), let part = first({ $0.hasSuffix("_Transformer") }) {
            return (
                "a model of sentence-transformers with its Transformer in \(part)",
                "give that folder, and the option pooling as 1_Pooling/config.json says"
            )
        }
        let vocabulary = first { $0.hasSuffix("vocabulary.json") || $0.hasSuffix("vocabulary.txt") }
        if names.contains("model.bin"), let vocabulary {
            return (
                "a model converted for CTranslate2 (model.bin, \(vocabulary)), which is not read",
                "make a folder of it with `seam convert` if it is a Whisper or Marian model, else " + export
            )
        }
        if let weights = first({ $0.hasSuffix(".npz") }) {
            let settings = first { $0.hasPrefix("decoder") && $0.hasSuffix(".yml") }
            let files = [weights, settings].compactMap { $0 }.joined(separator: ", ")
            return (
                "a model of the Marian program (\(files)), which is not read",
                "convert it with transformers (transformers/models/marian/convert_marian_to_pytorch.py), then save it as"
                    + " safetensors"
            )
        }
        let pickle =
            first { $0 == "pytorch_model.bin" } ?? first { $0.hasSuffix(".bin.index.json") }
            ?? first { $0.hasPrefix("pytorch_model") && $0.hasSuffix(".bin") }
            ?? first { name in [".pt", ".pth", ".ckpt"].contains { name.hasSuffix($0) } }
        if let pickle {
            return (
                "only \(pickle), a pickle, which is never executed",
                "convert it to safetensors: from_pretrained and save_pretrained of transformers do"
            )
        }
        let others: [(String, [String], [String])] = [
            ("an ONNX model", [".onnx"], ["onnx"]), ("a TensorFlow model", [".h5", ".pb"], []),
            ("a Flax model", [".msgpack"], []), ("an OpenVINO model", ["openvino_model.xml"], ["openvino"]),
        ]
        for (what, suffixes, folders) in others {
            let found = first { name in suffixes.contains { name.hasSuffix($0) } } ?? first(folders.contains)
            if let found { return ("only \(what) (\(found)), which is not read", export) }
        }
        if let weights = first({ $0.hasSuffix(".safetensors") && $0 != "model.safetensors" }) {
            if weights == "adapter_model.safetensors" {
                return ("an adapter (\(weights)), not a model", "give the folder of the model that it was trained for")
            }
            return ("weights under the name \(weights)", "they are looked for as model.safetensors")
        }
        return nil
    }
}
