import CSeam
import Engine
import Glibc
import Support

/// What flows into `encoder.output`, kept for every example of a run: with a frozen backbone it is a constant of the
/// example, so the encoder runs once per example instead of once per epoch. One thread per session.
public final class SeamCache {
    private let session: Session
    private let byteLimit: Int
    private var rows: [Int: Tensor] = [:]
    /// Bytes held.
    public private(set) var byteCount = 0
    /// Examples that the encoder has run on so far, repeats included.
    public private(set) var encodedCount = 0

    /// - Parameter byteLimit: examples beyond it are encoded again whenever they come up.
    public init(session: Session, byteLimit: Int) {
        self.session = session
        self.byteLimit = byteLimit
    }

    /// A quarter of the machine's memory.
    public convenience init(session: Session) {
        self.init(session: session, byteLimit: sysconf(Int32(_SC_PHYS_PAGES)) / 4 * sysconf(Int32(_SC_PAGESIZE)))
    }

    /// The encoder's output for a batch, [batch, source, d_model], zero at padding. Nothing is kept while an adapter
    /// of the rows' routes has a part in it (`Session.hasConstantEncoder(ofRoutes:)`).
    /// - Parameter examples: which example each row is; an example always takes the same route.
    public func encoded(_ batch: Batch, examples: [Int]) throws -> Tensor {
        precondition(examples.count == batch.count)
        let isConstant = session.hasConstantEncoder(ofRoutes: batch.routes)
        let width = session.backbone.info.dModel
        if !isConstant { (rows, byteCount) = ([:], 0) }
        let missing = examples.indices.filter { rows[examples[$0]] == nil }
        var fresh: [Int: Tensor] = [:]
        if !missing.isEmpty {
            let part = batch.taking(rows: missing)
            let context = session.makeContext(recordsGradients: false)
            let hidden = try context.contiguous(try session.encode(context, part))
            encodedCount += missing.count
            for (index, row) in missing.enumerated() {
                let length = batch.positionCount(row: row)
                let kept = try context.copied(
                    try context.slice(
                        try context.slice(hidden, axis: 0, start: index, length: 1), axis: 1, start: 0, length: length))
                fresh[row] = kept
                let size = length * width * 4
                if isConstant, byteCount + size <= byteLimit {
                    rows[examples[row]] = kept
                    byteCount += size
                }
            }
        }
        let context = session.makeContext(recordsGradients: false)
        let length = batch.positionCount
        let result = try context.full(0, .f32, [batch.count, length, width])
        let target = result.baseAddress.assumingMemoryBound(to: Float.self)
        for (row, example) in examples.enumerated() {
            let source = fresh[row] ?? rows[example]!
            (target + row * length * width).update(
                from: source.baseAddress.assumingMemoryBound(to: Float.self), count: source.elementCount)
        }
        return result
    }
}

extension Batch {
    /// The number of positions of hidden states up to the last one of a row that counts.
    func positionCount(row: Int) -> Int {
        let mask = positionMask[row * positionCount..<(row + 1) * positionCount]
        return (mask.lastIndex(of: 1) ?? mask.startIndex) - mask.startIndex + 1
    }
}
