import CSound
import Files
import Support

/// Sound of one channel.
public struct Sound: Sendable {
    /// From -1 to 1 where the file holds integers.
    public var samples: [Float]
    /// Samples a second.
    public var samplingRate: Int

    public init(samples: [Float], samplingRate: Int) { (self.samples, self.samplingRate) = (samples, samplingRate) }
}

/// An open sound file (WAV, FLAC, Ogg and what else libsndfile knows by its header), read by libsndfile. For one thread.
final class SoundFile {
    /// The length that the header tells of; counted where it does not.
    let length: SoundLength
    /// What it is called in error sentences.
    let place: String
    private let mapped: MappedFile
    private let file: OpenSoundFile

    /// - Throws: `SeamError`: as `MappedFile` for what cannot be opened; `.format` for what is no sound file or holds no
    ///   sound; `.notFound` without libsndfile.
    init(_ path: String) throws {
        // What is not there, a folder, a device or empty is told as for every other file.
        mapped = try MappedFile(path)
        file = try OpenSoundFile(path)
        place = "\"\(path)\""
        let info = file.info
        guard (1...1024).contains(info.channels), info.sample_rate > 0 else {
            throw SeamError(
                .format,
                "\(place) must have 1 to 1024 channels and a sampling rate above 0, found \(info.channels) channels"
                    + " of \(info.sample_rate) Hz")
        }
        // A FLAC file that was written into a pipe does not tell: what is there is counted.
        let isTold = info.frames < Int64.max
        let samples = isTold ? Int(max(info.frames, 0)) : try OpenSoundFile(path).read(.max) { _ in }
        length = SoundLength(samples: samples, samplingRate: Int(info.sample_rate))
        guard length.samples > 0 else {
            throw isCutOff
                ? cutOff(behind: 0) : SeamError(.format, "\(place) holds no sound, only a header")
        }
    }

    /// The first samples, of which the channels are mixed into one, each with the same weight, at the sampling rate `rate`.
    /// - Parameter count: of the file's own samples, at most those of `length`.
    /// - Throws: `SeamError`: `.format` for a file that is damaged; `.numeric` for NaN and infinity; as `Sound.resampled`.
    func read(_ count: Int, at rate: Int) throws -> [Float] {
        let wanted = SoundLength(samples: count, samplingRate: length.samplingRate)
        let resampler = try Resampler(of: wanted, to: rate, place: place)
        // What a header says of a length is no reason to ask for memory; that the file has as many bytes is.
        resampler.reserve(atMost: mapped.bytes.count)
        let found = try file.read(count) { try resampler.append($0) }
        guard found == count, !isCutOff else { throw cutOff(behind: found) }
        return resampler.finish()
    }

    private func cutOff(behind samples: Int) -> SeamError {
        SeamError(
            .format,
            "\(place) ends before the sound that its header tells of, after \(samples) samples of each"
                + " channel; it may be an incomplete download")
    }

    /// Whether a WAV file is shorter than its header says, which libsndfile passes over. Programs that write into a pipe
    /// do not know the length and put one there that no file has.
    private var isCutOff: Bool {
        mapped.withBytes { bytes in
            guard bytes.count >= 12, bytes.prefix(4).elementsEqual("RIFF".utf8) else { return false }
            let size = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            return size < 0x7FFF_0000 && Int(size) + 8 > bytes.count
        }
    }
}

/// A sound file that libsndfile has open until nobody holds the object.
private final class OpenSoundFile {
    private let handle: OpaquePointer
    private let functions: SndfileFunctions
    private let path: String
    let info: csound_file_info

    init(_ path: String) throws {
        functions = try SndfileFunctions.shared.get()
        self.path = path
        var info = csound_file_info()
        let readMode: Int32 = 0x10
        guard let handle = functions.open(path, readMode, &info) else {
            let reason = functions.message(nil).map { String(cString: $0) } ?? "unknown"
            throw SeamError(
                .format,
                "\"\(path)\" is no sound file that libsndfile reads, such as WAV, FLAC or Ogg (\(Self.plain(reason)))")
        }
        self.handle = handle
        self.info = info
        // Numbers without a header, which libsndfile guesses from a name's ending.
        guard info.format & 0x0FFF_0000 != 0x0004_0000 else {
            throw SeamError(.format, "\"\(path)\" is no sound file: it has no header that tells what it holds")
        }
    }

    deinit { _ = functions.close(handle) }

    /// Gives `take` the mean over the channels of at most so many frames, part by part, and returns how many there were:
    /// fewer where the file ends or is damaged.
    func read(_ frames: Int, _ take: (Span<Float>) throws -> Void) throws -> Int {
        let channels = Int(info.channels)
        let part = max(1, 65_536 / channels)
        var buffer = [Float](repeating: 0, count: part * channels)
        var mixed: [Float] = []
        var done = 0
        while done < frames {
            let got = Int(functions.read(handle, &buffer, Int64(min(part, frames - done))))
            guard got > 0 else { break }
            mixed.removeAll(keepingCapacity: true)
            for frame in 0..<got {
                var sum: Float = 0
                for channel in frame * channels..<(frame + 1) * channels { sum += buffer[channel] }
                guard sum.isFinite else {
                    throw SeamError(
                        .numeric,
                        "\"\(path)\" holds NaN or infinity at sample \(done + frame), where numbers are expected")
                }
                mixed.append(sum / Float(channels))
            }
            done += got
            try take(mixed.span)
        }
        return done
    }

    /// A message of libsndfile without its full stop.
    private static func plain(_ message: String) -> String {
        message.hasSuffix(".") ? String(message.dropLast()) : message
    }
}

private struct SndfileFunctions: Sendable {
    typealias Open =
        @Sendable @convention(c) (UnsafePointer<CChar>, Int32, UnsafeMutablePointer<csound_file_info>) ->
        OpaquePointer?
    typealias Read = @Sendable @convention(c) (OpaquePointer, UnsafeMutablePointer<Float>, Int64) -> Int64
    typealias Close = @Sendable @convention(c) (OpaquePointer) -> Int32
    typealias Message = @Sendable @convention(c) (OpaquePointer?) -> UnsafePointer<CChar>?

    let open: Open
    let read: Read
    let close: Close
    let message: Message

    static let shared = Result<SndfileFunctions, any Error> {
        let (open, read, close, message) = try SoundLibrary.sndfile.functions(
            ("sf_open", Open.self), ("sf_readf_float", Read.self), ("sf_close", Close.self),
            ("sf_strerror", Message.self))
        return SndfileFunctions(open: open, read: read, close: close, message: message)
    }
}
