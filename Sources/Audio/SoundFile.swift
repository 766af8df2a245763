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

/// Sound files (WAV, FLAC, Ogg and what else libsndfile knows by its header), read by libsndfile.
public enum SoundFile {
    /// Reads a file and mixes its channels, each with the same weight, into one.
    ///
    /// - Parameters:
    ///   - longest: the seconds that may be read of it.
    ///   - truncation: whether a longer file is read as far as that; else it is refused.
    /// - Throws: `SeamError`: as `MappedFile` for what cannot be opened; `.format` for what is no sound file, is damaged or
    ///   holds no sound; `.invalidArgument` for one that is too long; `.numeric` for NaN and infinity; `.notFound`
    ///   without libsndfile.
    ///
    /// Safe from any thread.
    public static func read(_ path: String, longest: Double, truncation: Bool) throws -> Sound {
        // What is not there, a folder, a device or empty is told as for every other file.
        let mapped = try MappedFile(path)
        let file = try OpenSoundFile(path)
        let info = file.info
        let place = "\"\(path)\""
        guard (1...1024).contains(info.channels), info.sample_rate > 0 else {
            throw SeamError(
                .format,
                "\(place) must have 1 to 1024 channels and a sampling rate above 0, found \(info.channels) channels"
                    + " of \(info.sample_rate) Hz")
        }
        let rate = Double(info.sample_rate)
        let limit = Int64((longest * rate).rounded(.up))
        guard truncation || info.frames <= limit else {
            throw SoundLength.tooLong(place, seconds: Double(info.frames) / rate, longest: longest)
        }
        let wanted = Int(min(info.frames, limit))
        let samples = try file.mixed(wanted)
        guard samples.count == wanted, !isCutOff(mapped) else {
            throw SeamError(
                .format,
                "\(place) ends before the sound that its header tells of, after \(samples.count) samples of each"
                    + " channel; it may be an incomplete download")
        }
        guard !samples.isEmpty else { throw SeamError(.format, "\(place) holds no sound, only a header") }
        return Sound(samples: samples, samplingRate: Int(info.sample_rate))
    }

    /// Whether a WAV file is shorter than its header says, which libsndfile passes over. Programs that write into a pipe
    /// do not know the length and put one there that no file has.
    private static func isCutOff(_ file: MappedFile) -> Bool {
        file.withBytes { bytes in
            guard bytes.count >= 12, bytes.prefix(4).elementsEqual("RIFF".utf8) else { return false }
            let size = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            return size < 0x7FFF_0000 && Int(size) + 8 > bytes.count
        }
    }
}

/// How long sound may be.
enum SoundLength {
    /// `place` names the sound as the beginning of a sentence.
    static func tooLong(_ place: String, seconds: Double, longest: Double) -> SeamError {
        SeamError(
            .invalidArgument,
            "\(place) is \(fixed(seconds, 1)) s long, and the model hears \(fixed(longest, 0)) s at once: cut it, or"
                + " ask for truncation, which leaves out the rest")
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

    /// The mean over the channels of at most so many frames; fewer where the file ends or is damaged.
    func mixed(_ frames: Int) throws -> [Float] {
        let channels = Int(info.channels)
        let part = max(1, 65_536 / channels)
        var buffer = [Float](repeating: 0, count: part * channels)
        // What a header says of a length is no reason to ask for memory.
        var samples: [Float] = []
        while samples.count < frames {
            let got = Int(functions.read(handle, &buffer, Int64(min(part, frames - samples.count))))
            guard got > 0 else { break }
            for frame in 0..<got {
                var sum: Float = 0
                for channel in frame * channels..<(frame + 1) * channels { sum += buffer[channel] }
                guard sum.isFinite else {
                    throw SeamError(
                        .numeric,
                        "\"\(path)\" holds NaN or infinity at sample \(samples.count), where numbers are expected")
                }
                samples.append(sum / Float(channels))
            }
        }
        return samples
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
