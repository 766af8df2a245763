import Support

/// A tensor taken apart along its first axis, so that each part can be changed by somebody else, and joined again.
///
/// Where nothing else can see the tensor's memory the parts may be written, each as if it were a result of its own: what
/// is written there needs no joining.
public struct RowParts {
    /// The parts, in order; alive as long as the context.
    public let tensors: [Tensor]
    fileprivate let whole: Tensor
    /// Whether the parts lie in the memory of `whole` and are all that is on it.
    fileprivate let areInPlace: Bool
}

extension Context {
    /// Views of consecutive rows, [rows, ...] each, which together are all of x.
    ///
    /// In a pass without gradients, where nothing else can see x's memory, an operation may write its result into a part
    /// (`linearLowRank`); x must then not be used before `joined`.
    /// - Parameter rows: their numbers, from row 0 on and without a gap.
    public func takenApart(_ x: Tensor, rows: [Int]) throws(SeamError) -> RowParts {
        guard x.rank > 0, rows.allSatisfy({ $0 > 0 }), rows.reduce(0, +) == x.shape[0] else {
            throw SeamError(.shape, "rows: parts of \(rows) rows do not make up the shape \(x.shape)")
        }
        let areInPlace = x.dtype == .f32 && x.isContiguous && isScratch(x)
        var parts: [Tensor] = []
        var start = 0
        for count in rows {
            if areInPlace {
                parts.append(retain(ownPart(of: x, start: start, count: count)))
            } else {
                parts.append(retain(try slice(x, axis: 0, start: start, length: count)))
            }
            start += count
        }
        return RowParts(tensors: parts, whole: x, areInPlace: areInPlace)
    }

    /// Rows of a contiguous result as a result in memory of its own, which keeps the whole alive: `isScratch` then asks of
    /// each part what it asks of a tensor.
    private func ownPart(of x: Tensor, start: Int, count: Int) -> Tensor {
        var shape = x.shape
        shape[0] = count
        let width = x.shape.dropFirst().reduce(x.dtype.byteCount, *)
        let owner = x.storage
        let storage = Storage(borrowing: x.baseAddress + start * width, byteCount: count * width) { _ = owner }
        let part = Tensor(shape: shape, dtype: x.dtype, storage: storage)
        part.isResult = true
        return part
    }

    /// What has become of the parts of a tensor, of the same shapes, as one tensor; the tensor itself where all of it was
    /// written in place.
    public func joined(_ parts: RowParts, as results: [Tensor]) throws(SeamError) -> Tensor {
        precondition(results.count == parts.tensors.count)
        guard parts.areInPlace else {
            let isUnchanged = zip(parts.tensors, results).allSatisfy { $0 === $1 }
            return isUnchanged ? parts.whole : retain(try concat(results, axis: 0))
        }
        for (part, result) in zip(parts.tensors, results) where part !== result {
            let source = try contiguous(result)
            // Of a view of the part the two may overlap.
            if source.baseAddress != part.baseAddress { part.f32.update(from: source.f32, count: part.elementCount) }
        }
        return parts.whole
    }
}
