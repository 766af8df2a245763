/// The plugins that a command takes where the user names none: the one place of the tool that names any.
enum DefaultPlugins {
    /// The head of a classification that is trained through the model.
    static let classificationHead = "linear-head"
    /// The head that `seam fewshot` trains on a model's answers.
    static let fewshotHead = "dect"
    /// The backbone that asks a server.
    static let serverBackbone = "remote"
}
