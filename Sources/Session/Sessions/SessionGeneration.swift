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
        let info = backbone.info
        try info.requireDecoder()
        let prompts = info.architecture == .decoderOnly ? batch.texts : nil
        let rooms = info.maxTargetPositions > 0 ? try rooms(batch, prompts: prompts) : nil
        var options = options
        if let rooms {
            // What has the least room is refused first.
            let tightest = rooms.min { $0.positions - $0.prompt < $1.positions - $1.prompt }!
            try checkRoom(tightest, options)
            let most = rooms.map(\.positions).max()!
            // Both count from the beginning of the prompt; the model's own length may be that of all its positions.
            options.maxLength = options.maxLength.map { min($0, most) }
            if options.maxLength == nil, options.fitsRoom {
                options.maxNewTokens = min(options.maxNewTokens, rooms.map { $0.positions - $0.prompt }.max()!)
            }
        }
        if prompts == nil, let length = options.maxLength, length <= 1 {
            throw SeamError(
                .invalidArgument,
                "max_length, which counts the start token, is \(length): there is no room for new ones; set max_new_tokens"
            )
        }
        // Before the backbone makes room for what will be generated.
        try options.validate(vocabularySize: info.vocabSize)
        try options.requireMemory(batch: batch.count, vocabularySize: info.vocabSize)
        let limits = rooms?.enumerated().map { row, room in
            // A length counts the row's own context, which is the start token without a prompt.
            let taken = options.maxLength == nil ? room.prompt : prompts?[row].count ?? 1
            return max(room.positions - taken, 1)
        }
        let capacity = try prompts?.map { try options.limit(behind: $0.count) }.max() ?? options.maxNewTokens
        let stepper = try SessionStepper(session: self, batch: batch, capacity: capacity)
        return try Generation.generate(
            stepper: stepper, batch: batch.count, options: options, prompts: prompts, limits: limits,
            progress: progress)
    }

    /// The positions that a row has for its text.
    private struct Room {
        /// Those that the prefix of its route and the vectors before its texts leave.
        let positions: Int
        /// Those of that prefix.
        let prefix: Int
        /// Those of the vectors.
        let vectors: Int
        /// Those of the longest prompt on its route; 0 without prompts.
        let prompt: Int
    }

    private func rooms(_ batch: Batch, prompts: [[Int32]]?) throws -> [Room] {
        let routes = try routeIndices(of: batch)
        var longest: [Int: Int] = [:]
        for (route, prompt) in zip(routes, prompts ?? []) { longest[route] = max(longest[route] ?? 0, prompt.count) }
        let attention = PrefixAttention.decoder.rawValue
        return routes.map { route in
            let prefix = backbone.info.maxPrefixLength[attention] > 0 ? chains[route].prefixLength[attention] : 0
            let vectors = promptLength(ofRoute: route)[Int(Stack.decoder.rawValue)]
            return Room(
                positions: backbone.info.maxTargetPositions - prefix - vectors, prefix: prefix, vectors: vectors,
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
