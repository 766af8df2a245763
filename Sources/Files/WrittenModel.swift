import Support

/// How a model that SeamKit wrote is told from one that another program wrote, which is never replaced.
public enum WrittenModel {
    /// The metadata of every model.safetensors that SeamKit writes, with the format that transformers asks for.
    public static let metadata: [TextKey: String] = ["format": "pt", "writer": "SeamKit"]

    /// Whether SeamKit wrote the model in a folder; false for a folder without one.
    static func isIn(_ folder: String) -> Bool {
        let file = try? SafetensorsFile(FileSystem.join(folder, "model.safetensors"))
        return file?.metadata["writer"] == metadata["writer"]
    }
}
