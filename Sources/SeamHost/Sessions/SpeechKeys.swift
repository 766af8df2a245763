import Files
import Generation
import Support

// What a generation's settings say of speech, in the files of models whose sources are features.
extension GenerationSettings {
    /// Keys of speech that are not offered, with the values that ask for nothing besides null.
    private static let refusedOfSpeech: KeyValuePairs<String, [JSON]> = ["no_speech_threshold": []]

    /// The tokens behind the start token by the older key, `forced_decoder_ids`: pairs of a place, from 1, and a token or
    /// null. Nil where the key is not there.
    func forcedTokens() throws -> [Int32?]? {
        let key = "forced_decoder_ids"
        guard let value = member(key) else { return nil }
        let expected = "a list of pairs of a place, counted from 1 without a gap, and a token id or null"
        guard let list = value.arrayValue else { throw wrong(key, expected, value) }
        return try list.enumerated().map { index, entry in
            guard let pair = entry.arrayValue, pair.count == 2, pair[0].intValue == index + 1 else {
                throw wrong(key, expected, value)
            }
            return pair[1] == .null ? nil : try ids(pair[1], key, expected).first
        }
    }

    /// Languages, tasks and times; nil for a file that names none of them.
    /// - Parameter forced: see `forcedTokens`.
    func speech(forced: [Int32?]) throws -> SpeechSettings? {
        let (languages, tasks) = (try namedTokens("lang_to_id"), try namedTokens("task_to_id"))
        let none = try tokens("no_timestamps_token_id").first
        guard !languages.isEmpty || !tasks.isEmpty || !forced.isEmpty || none != nil else { return nil }
        try refuseOthers(Self.refusedOfSpeech)
        var speech = SpeechSettings(language: try text("language"), task: try text("task"))
        (speech.languages, speech.tasks, speech.forcedTokens) = (languages, tasks, forced)
        speech.isMultilingual = try flag("is_multilingual") ?? true
        speech.noTimestampsToken = none
        speech.maxInitialTimestampIndex = try integer("max_initial_timestamp_index")
        speech.returnsTimestamps = try flag("return_timestamps") ?? false
        return speech
    }

    private func text(_ key: String) throws -> String? {
        try member(key).map { value in
            guard let text = value.stringValue else { throw wrong(key, "a text", value) }
            return text
        }
    }

    /// An object of names and token ids.
    private func namedTokens(_ key: String) throws -> [TextKey: Int32] {
        guard let value = member(key) else { return [:] }
        let expected = "an object of names and token ids"
        guard let members = value.objectValue else { throw wrong(key, expected, value) }
        return Dictionary(
            try members.map { name, id in
                guard let token = id.intValue.flatMap({ Int32(exactly: $0) }) else { throw wrong(key, expected, value) }
                return (TextKey(name), token)
            }, uniquingKeysWith: { $1 })
    }
}
