import Glibc
import Support

/// What a model of speech reads in the place of token ids: log-mel values, frame by frame.
public struct AudioFeatures: Sendable, Equatable {
    public let frames: Int
    public let featureSize: Int
    /// [frames, featureSize], row-major.
    public let values: [Float]
}

/// Makes features of sound, equal to those of transformers' WhisperFeatureExtractor but for rounding, as the files of a
/// model's folder describe them.
///
/// Transformers gives [featureSize, frames]; here a frame is a row. Sound that is shorter than a chunk is followed by
/// silence. Longer sound is what a `LongSound` says: where transformers cuts it off unasked, it is refused here unless more
/// is said, and as a whole it has the features that transformers gives for `truncation=False, padding="longest"`. Sound of
/// another sampling rate, which is refused there, is converted.
///
/// Immutable; safe from any thread.
public final class AudioFeatureExtractor: Sendable {
    public let settings: FeatureSettings
    private let filters: MelFilters
    /// Hann's window, periodic: 0.5 - 0.5 cos(2 pi n / N).
    private let window: [Float]

    /// - Parameter folder: a model's folder in the Hugging Face layout.
    /// - Throws: as `FeatureSettings.init(model:)`.
    public init(model folder: String) throws {
        settings = try FeatureSettings(model: folder)
        let length = settings.fftLength
        filters = MelFilters(
            count: settings.featureSize, bins: length / 2 + 1, samplingRate: settings.samplingRate, highest: 8000)
        window = (0..<length).map { Float(0.5 - 0.5 * cos(2 * Double.pi * Double($0) / Double(length))) }
    }

    /// The number of frames that the features of a sound file have, without reading more than its header where
    /// that tells the length.
    /// - Throws: as `features(ofFile:longSound:)` for what can be told without reading the sound.
    public func frameCount(ofFile path: String, longSound: LongSound) throws -> Int {
        let file = try SoundFile(path)
        return try plan(for: file.length, longSound, file.place).frames
    }

    /// The number of frames that the features of `count` samples have.
    /// - Throws: as `features(of:longSound:place:)` for what can be told without reading the samples.
    public func frameCount(ofSamples count: Int, samplingRate: Int, longSound: LongSound, place: String = "the sound")
        throws -> Int
    {
        try plan(for: SoundLength(samples: count, samplingRate: samplingRate), longSound, place).frames
    }

    /// The features of a sound file, whose channels are mixed into one.
    ///
    /// - Parameter longSound: what becomes of sound that is longer than a chunk.
    /// - Throws: `SeamError`: as `MappedFile` for what cannot be opened; `.format` for what is no sound file, is damaged or
    ///   holds no sound; `.outOfMemory` for a sound that the machine cannot hold; and as `features(of:)`.
    public func features(ofFile path: String, longSound: LongSound = .refuse) throws -> AudioFeatures {
        let file = try SoundFile(path)
        let plan = try plan(for: file.length, longSound, file.place)
        try requireMemory(for: plan, file.place)
        let samples = try file.read(plan.kept, at: settings.samplingRate)
        return try features(plan) { target in try logMel(samples.span, plan, to: &target, file.place) }
    }

    /// Writes the features of a sound file, as `features(ofFile:longSound:)` gives them.
    /// - Parameter target: of the size that `frameCount(ofFile:longSound:)` says.
    /// - Throws: also `.invalidArgument` for a target of another size.
    public func write(ofFile path: String, longSound: LongSound, to target: inout MutableSpan<Float>) throws {
        let file = try SoundFile(path)
        let plan = try plan(for: file.length, longSound, file.place)
        try requireMemory(for: plan, file.place)
        let samples = try file.read(plan.kept, at: settings.samplingRate)
        try logMel(samples.span, plan, to: &target, file.place)
    }

    /// The features of samples.
    ///
    /// - Parameters:
    ///   - sound: one or more samples, of a rate that is at most 256 times as high or as low as the model's.
    ///   - longSound: what becomes of sound that is longer than a chunk.
    ///   - place: what the sound is called in error sentences, which begin with it.
    /// - Throws: `SeamError`: `.invalidArgument` for no samples, too many or a rate that cannot be converted; `.numeric` for
    ///   NaN and infinity; `.notFound` without kissfft or, where the rate is another, libsamplerate.
    public func features(of sound: Sound, longSound: LongSound = .refuse, place: String = "the sound") throws
        -> AudioFeatures
    {
        let length = SoundLength(samples: sound.samples.count, samplingRate: sound.samplingRate)
        let plan = try plan(for: length, longSound, place)
        try requireMemory(for: plan, place)
        return try features(plan) { target in
            try write(
                of: sound.samples.span, samplingRate: sound.samplingRate, longSound: longSound, place: place,
                to: &target)
        }
    }

    /// Writes the features of samples, as `features(of:longSound:place:)` gives them.
    /// - Parameter target: of the size that `frameCount(ofSamples:samplingRate:longSound:place:)` says.
    /// - Throws: also `.invalidArgument` for a target of another size.
    public func write(
        of samples: Span<Float>, samplingRate: Int, longSound: LongSound, place: String,
        to target: inout MutableSpan<Float>
    ) throws {
        let length = SoundLength(samples: samples.count, samplingRate: samplingRate)
        let plan = try plan(for: length, longSound, place)
        for position in samples.indices where !samples[position].isFinite {
            throw SeamError(
                .numeric, "\(place) holds NaN or infinity at sample \(position), where numbers are expected")
        }
        try requireMemory(for: plan, place)
        let kept = samples.extracting(first: plan.kept)
        guard samplingRate != settings.samplingRate else { return try logMel(kept, plan, to: &target, place) }
        let resampler = try Resampler(
            of: SoundLength(samples: kept.count, samplingRate: samplingRate), to: settings.samplingRate, place: place)
        resampler.reserve(atMost: plan.heard)
        try resampler.append(kept)
        let resampled = resampler.finish()
        try logMel(resampled.span, plan, to: &target, place)
    }

    /// What is made of a sound.
    private struct Plan {
        /// The sound's own samples that are read.
        let kept: Int
        /// The samples at the model's rate that it hears: a chunk, or a longer sound as a whole.
        let heard: Int
        /// The frames of these.
        let frames: Int
    }

    private func plan(for length: SoundLength, _ longSound: LongSound, _ place: String) throws -> Plan {
        guard length.samples > 0 else { throw SeamError(.invalidArgument, "\(place) has no samples") }
        let rate = length.samplingRate
        let heard = try length.samples(at: settings.samplingRate, place: place)
        let isLonger =
            Double(length.samples) * Double(settings.samplingRate) > Double(settings.sampleCount) * Double(rate)
        let (chunk, frames) = (settings.sampleCount, settings.frameCount)
        guard isLonger else { return Plan(kept: length.samples, heard: chunk, frames: frames) }
        switch longSound {
        case .refuse:
            throw length.tooLong(place, longest: Double(settings.chunkLength))
        case .truncate:
            // A second more than is kept, so that the conversion of the rate knows what comes behind the end.
            return Plan(kept: min(length.samples, (settings.chunkLength + 1) * rate), heard: chunk, frames: frames)
        case .whole:
            guard heard / settings.hopLength <= Self.mostFrames else {
                let longest = Self.mostFrames * settings.hopLength / settings.samplingRate
                throw length.tooLongAsWhole(place, longest: Double(longest))
            }
            return Plan(kept: length.samples, heard: heard, frames: heard / settings.hopLength)
        }
    }

    /// Frames of the longest sound, 46 hours of Whisper's.
    private static let mostFrames = 1 << 24

    private func requireMemory(for plan: Plan, _ place: String) throws {
        let values = plan.heard + plan.frames * settings.featureSize
        try Memory.require(values, MemoryLayout<Float>.size, for: "\(place) with its features")
    }

    private func features(_ plan: Plan, _ write: (inout MutableSpan<Float>) throws -> Void) throws -> AudioFeatures {
        var values = [Float](repeating: 0, count: plan.frames * settings.featureSize)
        var target = values.mutableSpan
        try write(&target)
        return AudioFeatures(frames: plan.frames, featureSize: settings.featureSize, values: values)
    }

    /// Writes the features of samples at the model's rate; where there are fewer than it hears, silence follows.
    private func logMel(
        _ samples: Span<Float>, _ plan: Plan, to target: inout MutableSpan<Float>, _ place: String
    ) throws {
        let (length, half, count) = (settings.fftLength, settings.fftLength / 2, plan.heard)
        let bins = settings.featureSize
        guard target.count == plan.frames * bins else {
            throw SeamError(
                .invalidArgument,
                "features must be \(plan.frames) frames of \(bins) numbers for this sound, found room for \(target.count)"
                    + " numbers")
        }
        let transform = try RealTransform(size: length)
        var frame = [Float](repeating: 0, count: length)
        var power = [Float](repeating: 0, count: half + 1)
        var highest = -Float.infinity
        for index in 0..<plan.frames {
            // A frame's middle is at its sample; what lies outside of the sound is its mirror image.
            for offset in 0..<length {
                var position = abs(index * settings.hopLength + offset - half)
                if position >= count { position = 2 * (count - 1) - position }
                let sample = position < samples.count ? samples[position] : settings.paddingValue
                frame[offset] = sample * window[offset]
            }
            transform.power(of: frame, into: &power)
            for (bin, filter) in filters.filters.enumerated() {
                var sum: Float = 0
                for (offset, weight) in filter.weights.enumerated() { sum += weight * power[filter.first + offset] }
                let value = log10(max(sum, 1e-10))
                guard value.isFinite else {
                    throw SeamError(
                        .numeric,
                        "\(place) is too loud near sample \(index * settings.hopLength) to have features: samples are"
                            + " expected to lie between -1 and 1")
                }
                target[index * bins + bin] = value
                highest = max(highest, value)
            }
        }
        for index in target.indices { target[index] = (max(target[index], highest - 8) + 4) / 4 }
    }
}
