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
        let length = SoundLength(samples: samples.count, samplingRate: samplingRate)
        let resampler = try Resampler(of: length, to: rate, place: place)
        try resampler.append(samples.span)
        return Sound(samples: resampler.finish(), samplingRate: rate)
    }
}

extension SoundLength {
    /// The samples of the same sound at another rate.
    ///
    /// Throws `SeamError(.invalidArgument)` for a rate that is more than 256 times as high or as low.
    func samples(at rate: Int, place: String) throws -> Int {
        let ratio = Double(rate) / Double(max(samplingRate, 1))
        guard samplingRate > 0, (1.0 / 256...256).contains(ratio) else {
            throw SeamError(
                .invalidArgument,
                "\(place) must have a sampling rate from \((rate + 255) / 256) to \(rate * 256) Hz, found"
                    + " \(samplingRate)")
        }
        // A header may tell of any number.
        return Int(exactly: (Double(samples) * ratio).rounded(.up)) ?? .max
    }
}

/// Collects a sound at another sampling rate, part by part: of the sound as it was no more than a part need be there. For
/// one thread.
final class Resampler {
    private let state: OpaquePointer?
    private let functions: ConvertFunctions?
    private let ratio: Double
    private let count: Int
    private let place: String
    private var left: Int
    private var converted: [Float] = []
    private var room: [Float]

    /// - Parameters:
    ///   - length: that of the sound, which says how many samples are to come and at what rate.
    ///   - place: names the sound in error sentences.
    /// - Throws: as `Sound.resampled`.
    init(of length: SoundLength, to rate: Int, place: String) throws {
        count = try length.samples(at: rate, place: place)
        ratio = Double(rate) / Double(length.samplingRate)
        left = length.samples
        self.place = place
        guard rate != length.samplingRate else {
            (state, functions, room) = (nil, nil, [])
            return
        }
        let functions = try ConvertFunctions.shared.get()
        let bestSinc: Int32 = 0
        var status: Int32 = 0
        guard let state = functions.create(bestSinc, 1, &status) else {
            throw SeamError(.internal, "libsamplerate makes no converter, it gave the error \(status)")
        }
        (self.state, self.functions) = (state, functions)
        room = [Float](repeating: 0, count: 1 << 16)
    }

    deinit { if let state { _ = functions?.delete(state) } }

    /// Takes room for the whole sound at once, where so much is no surprise.
    func reserve(atMost samples: Int) { converted.reserveCapacity(min(count, samples)) }

    /// Takes the next samples.
    func append(_ part: Span<Float>) throws {
        left -= part.count
        guard let state, let functions else {
            for index in part.indices { converted.append(part[index]) }
            return
        }
        var offset = 0
        while true {
            var data = csound_conversion()
            data.src_ratio = ratio
            data.end_of_input = left <= 0 ? 1 : 0
            let status = part.withUnsafeBufferPointer { source in
                room.withUnsafeMutableBufferPointer { target in
                    data.data_in = source.baseAddress.map { $0 + offset }
                    data.input_frames = source.count - offset
                    data.data_out = target.baseAddress
                    data.output_frames = target.count
                    return functions.process(state, &data)
                }
            }
            guard status == 0 else {
                throw SeamError(
                    .internal, "\(place) could not be converted, libsamplerate gave the error \(status)")
            }
            offset += data.input_frames_used
            converted += room.prefix(data.output_frames_gen)
            if data.output_frames_gen < room.count, offset >= part.count || data.input_frames_used == 0 { return }
        }
    }

    /// The sound once all samples have come; what the converter did not give of its end is silence.
    func finish() -> [Float] {
        converted.removeLast(max(0, converted.count - count))
        while converted.count < count { converted.append(0) }
        return converted
    }
}

private struct ConvertFunctions: Sendable {
    typealias Create = @Sendable @convention(c) (Int32, Int32, UnsafeMutablePointer<Int32>) -> OpaquePointer?
    typealias Process = @Sendable @convention(c) (OpaquePointer, UnsafeMutablePointer<csound_conversion>) -> Int32
    typealias Delete = @Sendable @convention(c) (OpaquePointer) -> OpaquePointer?

    let create: Create
    let process: Process
    let delete: Delete

    static let shared = Result<ConvertFunctions, any Error> {
        let (create, process, delete) = try SoundLibrary.samplerate.functions(
            ("src_new", Create.self), ("src_process", Process.self), ("src_delete", Delete.self))
        return ConvertFunctions(create: create, process: process, delete: delete)
    }
}
