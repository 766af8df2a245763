import Files
import Support

/// The sizes of the features that a model of speech reads, as its folder says them: preprocessor_config.json, or
/// "feature_extractor" in processor_config.json, of a WhisperFeatureExtractor of transformers.
public struct FeatureSettings: Sendable, Equatable {
    /// Mel filters, the values of a frame.
    public let featureSize: Int
    /// Samples a second.
    public let samplingRate: Int
    /// Samples from one frame to the next.
    public let hopLength: Int
    /// Samples of a frame's window, even.
    public let fftLength: Int
    /// Seconds of sound that the model hears at once; shorter sound is followed by silence.
    public let chunkLength: Int
    /// The value of silence.
    public let paddingValue: Float

    /// Samples of a whole chunk.
    public var sampleCount: Int { chunkLength * samplingRate }
    /// Frames of a whole chunk.
    public var frameCount: Int { sampleCount / hopLength }

    /// Far above what models have, and little enough that features fit into memory.
    private static let mostFrames = 65_536

    /// Reads what a model's folder says.
    ///
    /// Throws `SeamError`: `.notFound` without such a file, `.unsupported` for features of another kind and for settings
    /// that are not known, `.format` for values that are none.
    public init(model folder: String) throws {
        let own = FileSystem.join(folder, "preprocessor_config.json")
        let shared = FileSystem.join(folder, "processor_config.json")
        if FileSystem.exists(own) {
            try self.init(try JSON.read(own), in: own)
        } else if FileSystem.exists(shared), let part = try JSON.read(shared)["feature_extractor"] {
            try self.init(part, in: "\(shared), \"feature_extractor\"")
        } else {
            throw SeamError(
                .notFound,
                "the model folder \"\(folder)\" has no preprocessor_config.json, which says what features it reads"
                    + " of sound")
        }
    }

    /// What decides the features.
    private static let honoured: Set<TextKey> = [
        "feature_extractor_type", "feature_size", "sampling_rate", "hop_length", "n_fft", "chunk_length",
        "padding_value", "padding_side", "dither", "do_normalize",
    ]
    /// What transformers computes from the others, or what decides no value.
    private static let derived: Set<TextKey> = [
        "mel_filters", "n_samples", "nb_max_frames", "processor_class", "return_attention_mask",
    ]

    private init(_ json: JSON, in name: String) throws {
        let kind = try json.optionalString("feature_extractor_type", in: name) ?? "a kind that is not named"
        guard kind == "WhisperFeatureExtractor" else {
            throw SeamError(
                .unsupported, "\(name): features must be those of WhisperFeatureExtractor, found \(kind)")
        }
        if let other = json.objectValue?.first(where: {
            !Self.honoured.contains(TextKey($0.key)) && !Self.derived.contains(TextKey($0.key))
        }) {
            throw SeamError(.unsupported, "\(name): the setting \"\(other.key)\" of features is not known")
        }
        func size(_ key: String, _ absent: Int, _ range: ClosedRange<Int>) throws -> Int {
            let value = try json.optionalInt(key, in: name) ?? absent
            guard range.contains(value) else {
                throw SeamError(
                    .format,
                    "\(name): \"\(key)\" must be \(range.lowerBound) to \(range.upperBound), found \(value)")
            }
            return value
        }
        featureSize = try size("feature_size", 80, 1...1024)
        samplingRate = try size("sampling_rate", 16_000, 1000...1_000_000)
        fftLength = try size("n_fft", 400, 2...8192)
        hopLength = try size("hop_length", 160, 1...65_536)
        chunkLength = try size("chunk_length", 30, 1...3600)
        paddingValue = Float(try json.optionalDouble("padding_value", in: name) ?? 0)
        guard frameCount <= Self.mostFrames else {
            throw SeamError(
                .unsupported,
                "\(name): \"chunk_length\" seconds must have at most \(Self.mostFrames) frames, found \(frameCount)")
        }
        guard fftLength.isMultiple(of: 2), fftLength / 2 < sampleCount, hopLength <= sampleCount else {
            throw SeamError(
                .unsupported,
                "\(name): \"n_fft\" must be even and with \"hop_length\" fit into \"chunk_length\" seconds, which are"
                    + " \(sampleCount) samples; found \(fftLength) and \(hopLength)")
        }
        try Self.require(json, in: name)
    }

    /// Throws for settings whose other values transformers has and this has not.
    private static func require(_ json: JSON, in name: String) throws {
        let side = try json.optionalString("padding_side", in: name) ?? "right"
        guard side == "right" else {
            throw SeamError(.unsupported, "\(name): \"padding_side\" must be \"right\", found \"\(side)\"")
        }
        let dither = try json.optionalDouble("dither", in: name) ?? 0
        guard dither == 0 else {
            throw SeamError(
                .unsupported, "\(name): \"dither\" must be 0, since it adds noise by chance, found \(dither)")
        }
        guard try json.optionalBool("do_normalize", in: name) != true else {
            throw SeamError(.unsupported, "\(name): \"do_normalize\" must be false, found true")
        }
    }
}
