/// The file of sentence-transformers that says how a text is read: where it ends, and whether it becomes lower case.
public enum SentenceEncoderFile {
    /// The names in the order in which they are looked for; all but the first are of models of before version 1.
    private static let names = [
        "sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
        "sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json",
    ]

    /// The first that the folder has, if any.
    public static func path(in folder: String) -> String? {
        names.lazy.map { FileSystem.join(folder, $0) }.first { FileSystem.exists($0) }
    }
}
