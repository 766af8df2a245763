import CSeam
import Engine
import Support

extension AttentionPrefix {
    /// What a plugin gives `attention_with_prefix`, with its counts and pointers checked.
    /// - Parameter biases: one for each route; NULL: none.
    init(
        _ pointer: UnsafePointer<seam_prefix>?, biases: UnsafePointer<OpaquePointer?>?
    ) throws(SeamError) {
        let operation = "attention_with_prefix"
        guard let pointer else { throw SeamError(.plugin, "\(operation): the prefix is NULL") }
        let given = try bounded(pointer, atLeast: SEAM_PREFIX_SIZE_1_0, "the seam_prefix of \(operation)")
        let count = try checkedCount(
            Int(given.route_count), atMost: mostHandles, "\(operation): the number of routes")
        guard count == 0 || given.keys_values != nil else {
            throw SeamError(.plugin, "\(operation): the prefix has \(count) routes and gives NULL for keys_values")
        }
        let rows = try checkedCount(given.row_count, atMost: mostHandles, "\(operation): the number of rows")
        guard given.routes != nil || rows == 0 else {
            throw SeamError(.plugin, "\(operation): the prefix has \(rows) rows and gives NULL for routes")
        }
        func tensors(_ handles: UnsafePointer<OpaquePointer?>?) -> [Tensor?] {
            UnsafeBufferPointer(start: handles, count: handles == nil ? 0 : count).map { $0.map(Tensor.from) }
        }
        self.init(
            keysValues: tensors(given.keys_values),
            rows: given.routes.map { Array(UnsafeBufferPointer(start: $0, count: rows)) }, biases: tensors(biases))
    }
}
