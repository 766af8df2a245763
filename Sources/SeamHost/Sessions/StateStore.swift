import Engine
import Files
import Glibc
import Support

/// Where seam caches keep what they have computed: in memory up to a limit, then in a file, and nowhere when the disk is full.
/// One thread at a time.
public final class StateStore {
    /// Where a state is.
    enum Place {
        case memory(Tensor)
        /// From this byte of the file on.
        case file(Int)
    }

    private let memoryLimit: Int
    private let folder: String?
    private let log: ((String) -> Void)?
    private var file: NamelessFile?
    private var isFull = false
    /// Bytes held in memory.
    public private(set) var memoryBytes = 0
    /// Bytes in the file.
    public var fileBytes: Int { file?.byteCount ?? 0 }

    /// Room that is left on the disk, for a run's own files above all.
    private static let reserve = 1 << 30
    /// A quarter of the machine's memory.
    public static let usualMemoryLimit = Memory.total / 4
    /// Where temporary files go, as the environment says.
    public static var usualFolder: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

    /// - Parameters:
    ///   - memoryLimit: bytes that are held in memory.
    ///   - folder: of the file, which has no name in it and is gone with this object or the process; nil: there is none, and
    ///     what is beyond the limit is not kept.
    ///   - log: takes the one sentence about a file that cannot be made, or a disk without room. What comes then is not kept.
    public init(memoryLimit: Int = usualMemoryLimit, folder: String? = nil, log: ((String) -> Void)? = nil) {
        (self.memoryLimit, self.folder, self.log) = (memoryLimit, folder, log)
    }

    /// With a file that is open already.
    package init(memoryLimit: Int, file: NamelessFile, log: @escaping (String) -> Void) {
        (self.memoryLimit, self.file, self.log, folder) = (memoryLimit, file, log, "")
    }

    /// Keeps a state.
    /// - Returns: nil where there is no room.
    func keep(_ values: UnsafeBufferPointer<Float>, in context: Context) throws -> Place? {
        let bytes = UnsafeRawBufferPointer(values)
        if memoryBytes + bytes.count <= memoryLimit {
            let kept = try context.makeTensor([values.count])
            UnsafeMutableRawBufferPointer(start: kept.baseAddress, count: bytes.count).copyMemory(from: bytes)
            memoryBytes += bytes.count
            return .memory(kept)
        }
        guard let folder, !isFull else { return nil }
        do {
            let file = try self.file ?? NamelessFile(in: folder, reserve: Self.reserve)
            self.file = file
            return .file(try file.append(bytes))
        } catch {
            isFull = true
            log?("the seam cache has no more room and computes the other examples in every step: \(error)")
            return nil
        }
    }

    /// Copies a state, as long as it was kept.
    func read(_ place: Place, into values: UnsafeMutableBufferPointer<Float>) throws {
        let bytes = UnsafeMutableRawBufferPointer(values)
        switch place {
        case .memory(let kept):
            bytes.copyMemory(from: UnsafeRawBufferPointer(start: kept.baseAddress, count: bytes.count))
        case .file(let offset): try file?.read(into: bytes, at: offset)
        }
    }

    /// Lets a state go. The room in the file stays taken.
    func release(_ place: Place) {
        if case .memory(let kept) = place { memoryBytes -= kept.elementCount * 4 }
    }
}
