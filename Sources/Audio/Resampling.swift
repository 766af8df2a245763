import CSound
import Support

extension Sound {
    /// The same sound at another sampling rate, by libsamplerate's best converter (a sinc of bandlimited interpolation);
    /// itself where it has that rate. A sample's place in time stays.
    ///
    /// `place` names the sound in error sentences. Throws `SeamError(.invalidArgument)` for a rate that is more than 256
    /// times as high or as low, and `.notFound` without libsamplerate. Safe from any thread.
    public func resampled(to rate: Int, place: String) throws -> Sound {
        guard rate != samplingRate else { return self }
        let ratio = Double(rate) / Double(max(samplingRate, 1))
        guard samplingRate > 0, (1.0 / 256...256).contains(ratio) else {
            throw SeamError(
                .invalidArgument,
                "\(place) must have a sampling rate from \((rate + 255) / 256) to \(rate * 256) Hz, found"
                    + " \(samplingRate)")
        }
        let count = Int((Double(samples.count) * ratio).rounded(.up))
        let convert = try ConvertFunction.shared.get().convert
        var result = [Float](repeating: 0, count: count)
        let status = samples.withUnsafeBufferPointer { source in
            result.withUnsafeMutableBufferPointer { target in
                var data = csound_conversion()
                data.data_in = source.baseAddress
                data.data_out = target.baseAddress
                (data.input_frames, data.output_frames) = (source.count, target.count)
                data.src_ratio = ratio
                let bestSinc: Int32 = 0
                return convert(&data, bestSinc, 1)
            }
        }
        guard status == 0 else {
            throw SeamError(
                .internal, "\(place) could not be converted to \(rate) Hz, libsamplerate gave the error \(status)")
        }
        return Sound(samples: result, samplingRate: rate)
    }
}

private struct ConvertFunction: Sendable {
    typealias Convert = @Sendable @convention(c) (UnsafeMutablePointer<csound_conversion>, Int32, Int32) -> Int32

    let convert: Convert

    static let shared = Result<ConvertFunction, any Error> {
        ConvertFunction(convert: try SoundLibrary.samplerate.functions(("src_simple", Convert.self)))
    }
}
