import Support

/// What becomes of sound that is longer than a chunk, which a model hears at once.
public enum LongSound: Sendable, CaseIterable {
    /// It is refused.
    case refuse
    /// What is behind the chunk is left out.
    case truncate
    /// It becomes features as a whole, which `Session.transcribe` reads window by window.
    case whole
}

/// How long a sound is.
struct SoundLength {
    /// Of each channel.
    let samples: Int
    /// Samples a second.
    let samplingRate: Int

    var seconds: Double { Double(samples) / Double(max(samplingRate, 1)) }

    /// `place` names the sound as the beginning of a sentence, `longest` is in seconds.
    func tooLong(_ place: String, longest: Double) -> SeamError {
        SeamError(
            .invalidArgument,
            "\(place) is \(fixed(seconds, 1)) s long, and the model hears \(fixed(longest, 0)) s at once: cut it, or"
                + " ask for truncation, which leaves out the rest")
    }

    /// Likewise, where the whole is asked for.
    func tooLongAsWhole(_ place: String, longest: Double) -> SeamError {
        SeamError(
            .invalidArgument,
            "\(place) is \(fixed(seconds, 1)) s long, and features are made of at most \(fixed(longest, 0)) s: cut it")
    }
}
