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
/// Transformers gives [featureSize, frames]; here a frame is a row. There, sound that is longer than a chunk is cut off
/// without a word, and another sampling rate is refused; here longer sound is refused unless `truncation` is asked for, and
/// sound of another rate is converted.
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

    /// The features of a sound file, whose channels are mixed into one.
    ///
    /// - Parameter truncation: whether of sound that is longer than a chunk the rest is left out; else it is refused.
    /// - Throws: as `SoundFile.read`, `Sound.resampled` and `features(of:)`.
    public func features(ofFile path: String, truncation: Bool = false) throws -> AudioFeatures {
        // A second more than is kept, so that the conversion of the rate knows what comes behind the end.
        let longest = Double(settings.chunkLength)
        let sound = try SoundFile.read(path, longest: truncation ? longest + 1 : longest, truncation: truncation)
        return try features(of: sound, truncation: truncation, place: "\"\(path)\"")
    }

    /// The features of samples.
    ///
    /// - Parameters:
    ///   - sound: one or more samples, of a rate that is at most 256 times as high or as low as the model's.
    ///   - truncation: as above.
    ///   - place: what the sound is called in error sentences, which begin with it.
    /// - Throws: `SeamError`: `.invalidArgument` for no samples, too many or a rate that cannot be converted; `.numeric` for
    ///   NaN and infinity; `.notFound` without kissfft or, where the rate is another, libsamplerate.
    public func features(of sound: Sound, truncation: Bool = false, place: String = "the sound") throws
        -> AudioFeatures
    {
        guard !sound.samples.isEmpty else { throw SeamError(.invalidArgument, "\(place) has no samples") }
        if let position = sound.samples.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric, "\(place) holds NaN or infinity at sample \(position), where numbers are expected")
        }
        let rate = sound.samplingRate
        let isLonger =
            rate > 0
            && Double(sound.samples.count) * Double(settings.samplingRate) > Double(settings.sampleCount) * Double(rate)
        guard truncation || !isLonger else {
            throw SoundLength.tooLong(
                place, seconds: Double(sound.samples.count) / Double(rate), longest: Double(settings.chunkLength))
        }
        let samples = try sound.resampled(to: settings.samplingRate, place: place).samples
        return try logMel(Array(samples.prefix(settings.sampleCount)))
    }

    /// The features of at most a chunk of samples at the model's rate.
    private func logMel(_ samples: [Float]) throws -> AudioFeatures {
        let (length, half, count) = (settings.fftLength, settings.fftLength / 2, settings.sampleCount)
        let bins = settings.featureSize
        let transform = try RealTransform(size: length)
        var frame = [Float](repeating: 0, count: length)
        var power = [Float](repeating: 0, count: half + 1)
        var values = [Float](repeating: 0, count: settings.frameCount * bins)
        var highest = -Float.infinity
        for index in 0..<settings.frameCount {
            // A frame's middle is at its sample; what lies outside of the chunk is its mirror image.
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
                values[index * bins + bin] = value
                highest = max(highest, value)
            }
        }
        for index in values.indices { values[index] = (max(values[index], highest - 8) + 4) / 4 }
        return AudioFeatures(frames: settings.frameCount, featureSize: bins, values: values)
    }
}
