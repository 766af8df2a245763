import ArgumentParser
import Generation
import Support

/// The language that is spoken in sound.
struct LanguageOption: ParsableArguments {
    @Option(
        help: """
            Of sound: the language that is spoken, such as de. Default: as the model's own settings say, or found out.
            """)
    var language: String?

    /// The options with the language that is given, and a task.
    /// - Throws: `.unsupported` for a model whose settings name none, `.invalidArgument` for what they do not name.
    func applied(to options: GenerationOptions, task: String? = nil) throws -> GenerationOptions {
        guard language != nil || task != nil else { return options }
        guard options.speech != nil else {
            throw SeamError(
                .unsupported,
                "--\(language != nil ? "language" : "task") is for models whose own settings name languages and tasks,"
                    + " and this one's do not")
        }
        var options = options
        try options.speech?.choose(language: language, task: task)
        return options
    }
}
