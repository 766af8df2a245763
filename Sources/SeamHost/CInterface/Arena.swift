import CSeam

/// Copies that live as long as this object.
final class Arena {
    private var blocks: [UnsafeMutableRawPointer] = []

    deinit { for block in blocks { block.deallocate() } }

    /// Nil for an empty array.
    func copy<Element: BitwiseCopyable>(_ values: [Element]) -> UnsafePointer<Element>? {
        guard !values.isEmpty else { return nil }
        let block = UnsafeMutablePointer<Element>.allocate(capacity: values.count)
        block.initialize(from: values, count: values.count)
        blocks.append(UnsafeMutableRawPointer(block))
        return UnsafePointer(block)
    }

    func copy(_ text: String) -> UnsafePointer<CChar> {
        let block = copyCString(text)
        blocks.append(UnsafeMutableRawPointer(block))
        return UnsafePointer(block)
    }
}
