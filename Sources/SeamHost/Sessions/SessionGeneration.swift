import Engine
import Generation
import Support

extension Session {
    /// The model's own settings of a generation (`GenerationDefaults`).
    /// - Parameter ignoresFile: take nothing of them but the token ids, and the defaults of Hugging Face for the rest.
    public func defaultGenerationOptions(ignoresFile: Bool = false) throws -> GenerationOptions {
        try GenerationDefaults.options(for: backbone, ignoresFile: ignoresFile)
    }

    /// Generates targets for the sources of a batch; for a decoder-only backbone, continuations of them.
    /// - Parameter progress: called before every step and after the last; false stops with `.cancelled`.
    public func generate(
        _ batch: Batch, options: GenerationOptions, progress: (GenerationProgress) -> Bool = { _ in true }
    ) throws -> [[GeneratedSequence]] {
        try backbone.info.requireDecoder()
        return try search(batch, options: options, beginning: try beginning(options), progress: progress).sequences
    }

    /// - Parameter beginning: what an encoder-decoder is given in place of the start token.
    /// - Returns: the sequences, and what each row was given of that.
    func search(
        _ batch: Batch, options: GenerationOptions, beginning: DecoderBeginning?,
        progress: (GenerationProgress) -> Bool
    ) throws -> (sequences: [[GeneratedSequence]], beginnings: [[Int32]]?) {
        let info = backbone.info
        let prompts = prompts(of: batch, beginning)
        let (options, limits) = try fitted(options, routes: try routeIndices(of: batch), prompts: prompts)
        try options.requireMemory(batch: batch.count, vocabularySize: info.vocabSize)
        let capacity = try prompts?.map { try options.limit(behind: $0.count) }.max() ?? options.maxNewTokens
        let stepper = try SessionStepper(session: self, batch: batch, capacity: capacity, beginning: beginning)
        let sequences = try Generation.generate(
            stepper: stepper, batch: batch.count, options: options, prompts: stepper.beginnings ?? prompts,
            sources: info.readsFeatures ? nil : batch.texts, limits: limits, progress: progress)
        return (sequences, stepper.beginnings)
    }

    /// What the decoder of a speech model is given to begin with; nil: the start token alone, or a prompt.
    func beginning(_ options: GenerationOptions) throws -> DecoderBeginning? {
        try options.speech.map { speech in
            guard backbone.info.architecture == .encoderDecoder else {
                throw SeamError(.unsupported, "settings of speech are for encoder-decoder backbones")
            }
            return DecoderBeginning(
                tokens: try speech.beginning(behind: options.decoderStartToken),
                choices: speech.languages.values.sorted())
        }
    }

    /// What stands before the new tokens of each row, as far as it is known before the model runs; nil: the start token.
    func prompts(of batch: Batch, _ beginning: DecoderBeginning?) -> [[Int32]]? {
        if backbone.info.architecture == .decoderOnly { return batch.texts }
        return beginning.map { [[Int32]](repeating: $0.tokens.map { $0 ?? 0 }, count: batch.count) }
    }

    /// Options whose new tokens fit into the backbone's positions.
    /// - Parameters:
    ///   - routes: of each row, whose prefix takes some of its positions.
    ///   - prompts: of each row; nil in an encoder-decoder that is given its start token alone.
    /// - Returns: the options, and the most new tokens that each row has room for; nil where there is no limit.
    /// - Throws: `.invalidArgument` where they do not fit and say so, or name other values that cannot be.
    func fitted(
        _ options: GenerationOptions, routes: [Int], prompts: [[Int32]]?
    ) throws -> (options: GenerationOptions, limits: [Int]?) {
        let rooms = backbone.info.maxTargetPositions > 0 ? rooms(routes, prompts: prompts) : nil
        var options = options
        // The row with the least room is the one that is refused.
        if let rooms, let tightest = rooms.min(by: { $0.left < $1.left }) {
            try checkRoom(tightest, options)
            // Both count from the beginning of the prompt; the model's own length may be that of all its positions.
            options.maxLength = options.maxLength.map { min($0, rooms.map(\.positions).max() ?? $0) }
            if options.maxLength == nil, options.fitsRoom {
                options.maxNewTokens = min(options.maxNewTokens, rooms.map(\.left).max() ?? options.maxNewTokens)
            }
        }
        if prompts == nil, let length = options.maxLength, length <= 1 {
            throw SeamError(
                .invalidArgument,
                "max_length, which counts the start token, is \(length): there is no room for new ones; set max_new_tokens"
            )
        }
        // Before the backbone makes room for what will be generated.
        try options.validate(vocabularySize: backbone.info.vocabSize)
        let limits = rooms?.enumerated().map { row, room in
            // A length counts the row's own context, which is the start token without a prompt.
            max(options.maxLength == nil ? room.left : room.positions - (prompts?[row].count ?? 1), 1)
        }
        return (options, limits)
    }

    /// The positions of a decoder that the prefix of a route leaves; nil where there is no limit.
    func positions(besidePrefixOf route: Int) -> Int? {
        let (limit, attention) = (backbone.info.maxTargetPositions, PrefixAttention.decoder.rawValue)
        guard limit > 0 else { return nil }
        return limit - (backbone.info.maxPrefixLength[attention] > 0 ? chains[route].prefixLength[attention] : 0)
    }

    /// The positions that a row has for its text.
    private struct Room {
        /// The positions that the prefix of its route and the vectors before its texts leave.
        let positions: Int
        /// The positions of that prefix.
        let prefix: Int
        /// The positions of the vectors.
        let vectors: Int
        /// The positions of the longest prompt on its route; 0 without prompts.
        let prompt: Int
        /// The positions for new tokens.
        var left: Int { positions - prompt }
    }

    private func rooms(_ routes: [Int], prompts: [[Int32]]?) -> [Room] {
        var longest: [Int: Int] = [:]
        for (route, prompt) in zip(routes, prompts ?? []) { longest[route] = max(longest[route] ?? 0, prompt.count) }
        return routes.map { route in
            let left = positions(besidePrefixOf: route) ?? 0
            let vectors = promptLength(ofRoute: route)[Int(Stack.decoder.rawValue)]
            return Room(
                positions: left - vectors, prefix: backbone.info.maxTargetPositions - left, vectors: vectors,
                prompt: longest[route] ?? 0)
        }
    }

    /// Throws `.invalidArgument` where the new tokens do not fit behind the longest prompt.
    private func checkRoom(_ room: Room, _ options: GenerationOptions) throws {
        let (positions, prefix, prompt) = (room.positions, room.prefix, room.prompt)
        let total = backbone.info.maxTargetPositions
        guard positions > prompt else {
            let taken = [
                prompt > 0 ? "the longest prompt takes \(prompt)" : nil, prefix > 0 ? "the prefix \(prefix)" : nil,
                room.vectors > 0 ? "the learned prompt \(room.vectors)" : nil,
            ]
            throw SeamError(
                .invalidArgument,
                "there is no room for new tokens: of the backbone's \(total) positions "
                    + "\(taken.compactMap { $0 }.joined(separator: " and ")); shorten the prompt")
        }
        guard options.maxLength == nil, !options.fitsRoom, options.maxNewTokens > positions - prompt else { return }
        let limit = positions - prompt
        let taken = [
            prefix > 0 ? "the prefix" : nil, room.vectors > 0 ? "the learned prompt" : nil,
            prompt > 0 ? "the prompts" : nil,
        ].compactMap { $0 }
        let room =
            taken.isEmpty
            ? "the backbone's \(limit) target positions"
            : "\(limit) positions, which \(taken.joined(separator: " and ")) leave\(taken.count == 1 && prompt == 0 ? "s" : "") of the backbone's \(total)"
        throw SeamError(.invalidArgument, "max_new_tokens must be at most \(room), found \(options.maxNewTokens)")
    }
}
