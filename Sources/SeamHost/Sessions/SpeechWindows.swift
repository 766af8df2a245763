import Generation
import Support

/// A part of what a speech model has written of a sound.
public struct SpeechSegment: Sendable, Equatable {
    /// Seconds from the beginning of the sound.
    public let start, end: Double
    /// Those of times among them, without the end token.
    public let tokens: [Int32]
    /// The sum of the log-probabilities of all tokens of its window.
    public let score: Float
}

extension Session {
    /// Writes what a sound of any length says, in windows of as many frames as the model has positions for (Radford et al.
    /// 2022, section 3.8), as `generate` of transformers does it with the defaults of its further arguments: a window
    /// begins where the one before has ended, or where its last whole part has, if it breaks off within one.
    ///
    /// What is behind the sound's end in its last window is 0. A language that nobody chose is that of the first window.
    /// - Parameters:
    ///   - features: [frames, `BackboneInfo.featureWidth`].
    ///   - route: that of the adapters; nil: the default one.
    ///   - options: with times (`SpeechSettings.returnsTimestamps`) where the sound is longer than a window. Lengths are
    ///     those of one window.
    ///   - secondsPerFrame: of the features.
    ///   - progress: called with the frames that are done before every step; false stops with `.cancelled`.
    /// - Throws: `.invalidArgument` for features that are none, a longer sound without times, and several sequences;
    ///   `.unsupported` for a backbone that reads no features or names no length; and as `generate` does.
    public func transcribe(
        features: [Float], route: String? = nil, options: GenerationOptions, secondsPerFrame: Double = 0.01,
        progress: (_ done: Int, _ total: Int) -> Bool = { _, _ in true }
    ) throws -> [SpeechSegment] {
        let info = backbone.info
        guard info.readsFeatures, info.maxSourcePositions > 0 else {
            throw SeamError(
                .unsupported,
                "only a backbone that reads features, of so many positions at most, writes a sound in windows")
        }
        let (width, window) = (info.featureWidth, info.maxSourcePositions * info.featureStride)
        let frames = features.count / width
        guard frames > 0, features.count % width == 0, secondsPerFrame > 0, secondsPerFrame.isFinite else {
            throw SeamError(
                .invalidArgument,
                "a sound is frames of \(width) numbers and a positive number of seconds for each, found \(features.count) numbers and \(secondsPerFrame) seconds"
            )
        }
        guard frames <= window || options.speech?.returnsTimestamps == true else {
            throw SeamError(
                .invalidArgument,
                "the sound has \(frames) frames and the model reads \(window) at once: set return_timestamps, by which longer ones are written window by window"
            )
        }
        guard options.numReturnSequences == 1 else {
            throw SeamError(
                .invalidArgument, "num_return_sequences must be 1 for a sound, found \(options.numReturnSequences)")
        }
        var beginning = try beginning(options)
        var segments: [SpeechSegment] = []
        var seek = 0
        while seek < frames {
            let count = min(frames - seek, window)
            let shown = Array(features[seek * width..<(seek + count) * width])
            let batch = try Batch(
                count: 1, sourceLength: window,
                inputFeatures: shown + [Float](repeating: 0, count: (window - count) * width), routes: [route],
                info: info)
            let found = try search(batch, options: options, beginning: beginning) { _ in progress(seek, frames) }
            if let chosen = found.beginnings?.first { beginning = DecoderBeginning(tokens: chosen, choices: []) }
            var written = found.sequences[0][0]
            if let last = written.tokens.last, options.eosTokens.contains(last) { written.tokens.removeLast() }
            let parts = WindowParts(
                written.tokens, firstTime: options.speech?.noTimestampsToken.map { $0 + 1 }, frames: count,
                stride: info.featureStride)
            segments += parts.parts.map { part in
                SpeechSegment(
                    start: Double(seek + part.start) * secondsPerFrame, end: Double(seek + part.end) * secondsPerFrame,
                    tokens: Array(written.tokens[part.tokens]), score: written.score)
            }
            seek += parts.taken
        }
        guard progress(frames, frames) else { throw SeamError(.cancelled, "a transcription was cancelled at its end") }
        return segments
    }
}

/// What is written of one window, by its times.
struct WindowParts {
    struct Part: Equatable {
        let tokens: Range<Int>
        /// Frames of the window.
        let start, end: Int
    }

    private(set) var parts: [Part] = []
    /// The frames that are written of, 1 or more.
    private(set) var taken: Int

    /// - Parameters:
    ///   - firstTime: the token of the window's beginning, behind which stand those of later times, a position each; nil:
    ///     there are no times.
    ///   - frames: of the window that are the sound's.
    ///   - stride: the frames of a position.
    init(_ tokens: [Int32], firstTime: Int32?, frames: Int, stride: Int) {
        func isTime(_ index: Int) -> Bool { firstTime.map { tokens[index] >= $0 } ?? false }
        func frame(_ index: Int) -> Int { (Int(tokens[index]) - Int(firstTime ?? 0)) * stride }
        taken = frames
        // Two times side by side: one part ends and another begins.
        var ends = tokens.indices.dropLast().filter { isTime($0) && isTime($0 + 1) }.map { $0 + 1 }
        let count = tokens.count
        guard let last = ends.last else {
            let time = tokens.indices.last(where: isTime).flatMap { tokens[$0] == firstTime ? nil : $0 }
            parts = [Part(tokens: 0..<count, start: 0, end: time.map(frame) ?? frames / stride * stride)]
            return
        }
        // With one time at its end there is nothing behind that; else the last part is not whole and is written anew.
        let isWhole = isTime(count - 1) && !isTime(count - 2)
        if isWhole { ends.append(count) } else { ends[ends.count - 1] = last + 1 }
        var first = 0
        for (index, end) in ends.enumerated() {
            let isCut = index == ends.count - 1 && !isWhole
            parts.append(Part(tokens: first..<end, start: frame(first), end: frame(end - (isCut ? 2 : 1))))
            first = end
        }
        // A window of which nothing is written goes as a whole, so that the next one is another.
        if !isWhole, frame(first - 2) > 0 { taken = frame(first - 2) }
    }
}
