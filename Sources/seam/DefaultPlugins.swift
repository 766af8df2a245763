import Files

/// The plugins that a command takes where the user names none: the one place of the tool that names any.
enum DefaultPlugins {
    /// The head of a classification that is trained through the model.
    static let classificationHead = "linear-head"
    /// The head that `seam fewshot` trains on a model's answers.
    static let fewshotHead = "dect"
    /// What `seam fewshot --adapter` is given for one of `fewshotCandidates`, which is chosen for each draw.
    static let chosenHead = "auto"
    /// The heads among which is chosen, those that learn more from the examples first. One that is doubted is taken only
    /// where it is better beyond doubt.
    static let fewshotCandidates: [(name: String, id: String, options: JSON, isDoubted: Bool)] = [
        ("ridge-head", "ridge-head", .null, false), ("dect", "dect", .null, true),
        ("the scores alone", "ridge-head", ["hidden": false], false),
    ]
    /// The backbone that asks a server.
    static let serverBackbone = "remote"
}
