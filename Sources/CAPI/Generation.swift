import CSeam
import Generation
import SeamHost
import Support

@c @implementation
public func seam_generate_options_init(
    _ backbone: OpaquePointer?, _ options: UnsafeMutablePointer<seam_generate_options>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(backbone, "backbone", as: BackboneHandle.self)
        let out = try place(options, "options")
        let ignoresFile = try ignoresFile(try read(out, "options"))
        let settings = try Session(backbone: handle.backbone).defaultGenerationOptions(ignoresFile: ignoresFile)
        write(cOptions(settings, ignoresFile: ignoresFile), to: out)
    }
}

@c @implementation
public func seam_session_generate(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ options: UnsafePointer<seam_generate_options>?,
    _ progress: seam_progress_callback?, _ user: UnsafeMutableRawPointer?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, out) = (try handle.batch(batch), try required(out, "out"))
        let settings = try generationOptions(options, for: handle.session)
        let progress = Progress(progress, user)
        let result = try handle.session.generate(source, options: settings) { step in
            progress.report(
                .generate, done: step.done, total: step.total, tokens: step.tokens.map { $0.map { $0 ?? -1 } })
        }
        out.pointee = handOver(SequencesHandle(result))
    }
}

@c @implementation
public func seam_session_transcribe(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ features: UnsafePointer<Float>?, _ frames: Int,
    _ secondsPerFrame: Double, _ options: UnsafePointer<seam_generate_options>?, _ progress: seam_progress_callback?,
    _ user: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (first, out) = (try required(features, "features"), try required(out, "out"))
        let count = try count(frames, "frames", atMost: 1 << 24)
        let numbers = UnsafeBufferPointer(start: first, count: count * handle.session.backbone.info.featureWidth)
        let settings = try generationOptions(options, for: handle.session)
        let progress = Progress(progress, user)
        let segments = try handle.session.transcribe(
            features: Array(numbers), route: try optionalText(route, "route"), options: settings,
            secondsPerFrame: secondsPerFrame
        ) { progress.report(.transcribe, done: $0, total: $1) }
        out.pointee = handOver(SequencesHandle(segments))
    }
}

@c @implementation
public func seam_sequences_times(
    _ sequences: OpaquePointer?, _ item: Int, _ index: Int, _ start: UnsafeMutablePointer<Double>?,
    _ end: UnsafeMutablePointer<Double>?
) -> Int32 {
    let times = (try? object(sequences, "sequences", as: SequencesHandle.self))?.times ?? []
    // Sequences that are parts of a sound have one item.
    guard item == 0, times.indices.contains(index) else { return 0 }
    start?.pointee = times[index].start
    end?.pointee = times[index].end
    return 1
}

@c @implementation
public func seam_sequences_count(_ sequences: OpaquePointer?, _ item: Int) -> Int {
    (try? object(sequences, "sequences", as: SequencesHandle.self))?.count(item) ?? 0
}

@c @implementation
public func seam_sequences_tokens(
    _ sequences: OpaquePointer?, _ item: Int, _ index: Int, _ length: UnsafeMutablePointer<Int>?,
    _ score: UnsafeMutablePointer<Double>?
) -> UnsafePointer<Int32>? {
    let found = (try? object(sequences, "sequences", as: SequencesHandle.self))?.sequence(item, index)
    length?.pointee = found?.length ?? 0
    if let found { score?.pointee = found.score }
    return found?.tokens
}

@c @implementation
public func seam_sequences_release(_ sequences: OpaquePointer?) { release(sequences, SequencesHandle.self) }

// MARK: Options

/// A caller's options; the model's own where it gives none.
func generationOptions(_ options: UnsafePointer<seam_generate_options>?, for session: Session) throws
    -> GenerationOptions
{
    let given = try options.map { try read($0, "options") }
    var settings = try session.defaultGenerationOptions(ignoresFile: try given.map(ignoresFile) ?? false)
    if let given { try apply(given, to: &settings) }
    return settings
}

/// A number of new tokens that a length of the model's settings, which counts the prompt, leaves.
private let lengthOfModel: Int32 = -1

private func ignoresFile(_ options: seam_generate_options) throws -> Bool {
    try flag(options.ignore_generation_config, "ignore_generation_config")
}

private func mostTokens(_ options: GenerationOptions) -> Int32 {
    options.maxLength == nil ? Int32(clamping: options.maxNewTokens) : lengthOfModel
}

private func cOptions(_ source: GenerationOptions, ignoresFile: Bool) -> seam_generate_options {
    var options = seam_generate_options.sized
    options.max_new_tokens = mostTokens(source)
    options.min_new_tokens = source.minLength == nil ? Int32(clamping: source.minNewTokens) : lengthOfModel
    options.num_beams = Int32(clamping: source.beams)
    options.num_return_sequences = Int32(clamping: source.numReturnSequences)
    options.early_stopping =
        switch source.earlyStopping {
        case .heuristic: Int32(SEAM_EARLY_STOPPING_HEURISTIC)
        case .whenFull: Int32(SEAM_EARLY_STOPPING_WHEN_FULL)
        case .never: Int32(SEAM_EARLY_STOPPING_NEVER)
        }
    options.length_penalty = source.lengthPenalty
    options.do_sample = source.sample ? 1 : 0
    options.top_k = Int32(clamping: source.topK)
    options.temperature = Double(source.temperature)
    options.top_p = source.topP
    options.repetition_penalty = Double(source.repetitionPenalty)
    options.no_repeat_ngram_size = Int32(clamping: source.noRepeatNgramSize)
    options.seed = source.seed
    options.ignore_generation_config = ignoresFile ? 1 : 0
    options.return_timestamps = source.speech?.returnsTimestamps == true ? 1 : 0
    return options
}

private func apply(_ source: seam_generate_options, to options: inout GenerationOptions) throws {
    // To set a number takes away the length that the model's settings have, and that theirs makes do with less room.
    if source.max_new_tokens != mostTokens(options) {
        options.maxNewTokens = Int(source.max_new_tokens)
    }
    if options.minLength == nil || source.min_new_tokens != lengthOfModel {
        options.minNewTokens = Int(source.min_new_tokens)
    }
    options.beams = Int(source.num_beams)
    options.numReturnSequences = Int(source.num_return_sequences)
    switch Int(source.early_stopping) {
    case SEAM_EARLY_STOPPING_HEURISTIC: options.earlyStopping = .heuristic
    case SEAM_EARLY_STOPPING_WHEN_FULL: options.earlyStopping = .whenFull
    case SEAM_EARLY_STOPPING_NEVER: options.earlyStopping = .never
    default: throw SeamError(.invalidArgument, "early_stopping must be 0, 1 or 2, found \(source.early_stopping)")
    }
    options.lengthPenalty = source.length_penalty
    options.sample = try flag(source.do_sample, "do_sample")
    options.topK = Int(source.top_k)
    options.temperature = Float(source.temperature)
    options.topP = source.top_p
    options.repetitionPenalty = Float(source.repetition_penalty)
    options.noRepeatNgramSize = Int(source.no_repeat_ngram_size)
    options.seed = source.seed
    try applySpeech(source, to: &options)
}

/// A language, a task and times, of a model whose settings name them.
private func applySpeech(_ source: seam_generate_options, to options: inout GenerationOptions) throws {
    let language = try optionalText(source.language, "options.language")
    let task = try optionalText(source.task, "options.task")
    let times = try flag(source.return_timestamps, "return_timestamps")
    guard options.speech != nil || language != nil || task != nil || times else { return }
    guard var speech = options.speech else {
        let name = language != nil ? "language" : task != nil ? "task" : "return_timestamps"
        throw SeamError(
            .unsupported,
            "option \(name): the model's settings of a generation, as they are followed, name no languages, tasks or times"
        )
    }
    try speech.choose(language: language, task: task)
    speech.returnsTimestamps = times
    options.speech = speech
}
