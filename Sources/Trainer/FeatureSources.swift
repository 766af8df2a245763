import Support
import Synchronization

/// Sources that are features and no token ids, such as those of sound files, made when a batch needs them.
///
/// A training reads every example again and again, so what was made is kept, as far as a limit allows. Safe from any
/// thread.
public final class FeatureSources: Sendable {
    public let count: Int
    /// Frames of each source, and the numbers of a frame.
    public let frames, width: Int
    /// Tells these sources from others.
    let contentHash: String
    private let make: @Sendable (Int) throws -> [Float]
    /// Sources of which the features are kept.
    let mostKept: Int
    private let kept = Mutex<[Int: [Float]]>([:])

    /// - Parameters:
    ///   - contentHash: equal for sources that are equal, whatever their files are called.
    ///   - mostBytes: of what is kept.
    ///   - make: the features of a source, [frames, width].
    public init(
        count: Int, frames: Int, width: Int, contentHash: String, mostBytes: Int = 1 << 29,
        make: @escaping @Sendable (Int) throws -> [Float]
    ) {
        (self.count, self.frames, self.width) = (count, frames, width)
        (self.contentHash, self.make) = (contentHash, make)
        mostKept = mostBytes / max(1, frames * width * MemoryLayout<Float>.stride)
    }

    /// The features of a source, [frames, width].
    /// - Throws: what the sound cannot be read for; `.shape` for features of another size than said.
    public func features(_ row: Int) throws -> [Float] {
        if let found = kept.withLock({ $0[row] }) { return found }
        let made = try make(row)
        guard made.count == frames * width else {
            throw SeamError(.shape, "features must be \(frames) x \(width) numbers, found \(made.count)")
        }
        kept.withLock { if $0.count < mostKept { $0[row] = made } }
        return made
    }

    /// Some of the sources, in any order.
    func taking(_ rows: [Int]) -> FeatureSources {
        var hash = contentHash
        for row in rows { hash += " \(row)" }
        return FeatureSources(count: rows.count, frames: frames, width: width, contentHash: hash, mostBytes: 0) {
            [self] in try features(rows[$0])
        }
    }
}
