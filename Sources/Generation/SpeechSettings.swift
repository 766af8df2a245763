import Support

/// What a speech model's settings say of the tokens that its decoder begins with, and of tokens of times. Whisper (Radford
/// et al. 2022, section 2.3) begins with a start token, a language, a task and, where no times are wanted, a token that
/// says so; what is named here is in its generation_config.json.
public struct SpeechSettings: Sendable, Equatable {
    /// Tokens of languages, by names such as "<|en|>" (lang_to_id); empty: the model knows none.
    public var languages: [TextKey: Int32] = [:]
    /// Tokens of tasks, by names such as "transcribe" (task_to_id); empty: the model knows none.
    public var tasks: [TextKey: Int32] = [:]
    /// False for a model of one language, for which no caller chooses a language or a task (is_multilingual).
    public var isMultilingual = true
    /// What stands behind the start token where neither a language nor a task is chosen (forced_decoder_ids); nil: a
    /// language that is found out.
    public var forcedTokens: [Int32?] = []
    /// Says that no times are written (no_timestamps_token_id); all tokens behind it are times, in order. Nil: the model
    /// writes none.
    public var noTimestampsToken: Int32?
    /// How far behind the first time a text may begin (max_initial_timestamp_index); nil: anywhere.
    public var maxInitialTimestampIndex: Int?
    /// A language by its name, or a part of it, "en"; nil: found out for each row, where the model knows several.
    public private(set) var language: String?
    /// A task by its name; nil: transcribe where a language is chosen, else what the settings say.
    public private(set) var task: String?
    /// Whether times are written.
    public var returnsTimestamps = false

    /// Settings of a model that knows of nothing yet.
    /// - Parameters:
    ///   - language: the model's own choice; nil: none.
    ///   - task: likewise.
    public init(language: String? = nil, task: String? = nil) { (self.language, self.task) = (language, task) }

    /// Takes a caller's choice; nil leaves what the settings say.
    /// - Throws: `SeamError(.invalidArgument)` for a language or a task that the model does not know, `.unsupported` where
    ///   it knows none to choose among.
    public mutating func choose(language: String? = nil, task: String? = nil) throws {
        for (name, value, known) in [("language", language, languages), ("task", task, tasks)] {
            guard let value else { continue }
            guard isMultilingual, !known.isEmpty else {
                throw SeamError(
                    .unsupported,
                    "option \(name): the model's settings name no \(name)s to choose among, found \"\(value)\"")
            }
        }
        if let language {
            _ = try token(ofLanguage: language)
            self.language = language
        }
        if let task {
            _ = try token(ofTask: task)
            self.task = task
        }
    }

    /// What the decoder is given to begin with, as `generate` of transformers does it: tokens, where nil stands for the
    /// language of a row that is found out (`languages`).
    /// - Throws: `SeamError(.invalidArgument)` for a language or a task that the model does not know, and times of a model
    ///   that writes none.
    public func beginning(behind start: Int32) throws -> [Int32?] {
        guard !returnsTimestamps || noTimestampsToken != nil else {
            throw SeamError(
                .invalidArgument,
                "option return_timestamps: the model's settings name no no_timestamps_token_id, behind which its times are"
            )
        }
        var tokens: [Int32?] = [start] + (language == nil && task == nil ? forcedTokens : [])
        let chosen = try language.map { try token(ofLanguage: $0) }
        // An entry that is nil stays one to find out, or goes where there is nothing to find.
        if chosen != nil || !languages.isEmpty, tokens.count == 1 {
            tokens.append(chosen)
        } else if let chosen {
            tokens[1] = chosen
        }
        let known = Set(tasks.values)
        if let task {
            tokens.append(try token(ofTask: task))
        } else if chosen != nil, let transcribe = tasks["transcribe"],
            !tokens.contains(where: { $0.map(known.contains) ?? false })
        {
            tokens.append(transcribe)
        }
        if let none = noTimestampsToken {
            if !returnsTimestamps, tokens.last != none { tokens.append(none) }
            if returnsTimestamps, tokens.last == none { tokens.removeLast() }
        }
        let found = languages.isEmpty ? nil : 1
        return tokens.enumerated().filter { $1 != nil || $0 == found }.map(\.element)
    }

    /// The rules that times are written by; nil where none are.
    func timestampRules(ends: [Int32]) -> TimestampRules? {
        guard returnsTimestamps, let none = noTimestampsToken else { return nil }
        return TimestampRules(
            none: Int(none), textEnd: Int(ends.first ?? none), maxInitialIndex: maxInitialTimestampIndex)
    }

    /// Every token that the settings name, with the key that it stands under.
    var namedTokens: [(String, [Int32])] {
        [
            ("lang_to_id", Array(languages.values)), ("task_to_id", Array(tasks.values)),
            ("forced_decoder_ids", forcedTokens.compactMap(\.self)),
            ("no_timestamps_token_id", noTimestampsToken.map { [$0] } ?? []),
        ]
    }

    private func token(ofLanguage name: String) throws -> Int32 {
        let name = name.lowercased()
        if let token = languages[TextKey(name)] ?? languages[TextKey("<|\(name)|>")] { return token }
        let known = languages.keys.map { $0.text.hasPrefix("<|") ? String($0.text.dropFirst(2).dropLast(2)) : $0.text }
        throw SeamError(
            .invalidArgument,
            "option language: the model does not know \"\(name)\"; give one of \(known.sortedExactly().joined(separator: ", "))"
        )
    }

    private func token(ofTask name: String) throws -> Int32 {
        if let token = tasks[TextKey(name)] { return token }
        throw SeamError(
            .invalidArgument,
            "option task: the model does not know \"\(name)\"; give one of "
                + tasks.keys.map(\.text).sortedExactly().joined(separator: ", "))
    }
}
