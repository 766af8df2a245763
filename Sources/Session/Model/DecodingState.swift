import CSeam
import Engine
import Support

extension Backbone {
    func makeState(_ context: Context, batch: Int, capacity: Int) throws -> DecodingState? {
        guard let create = table.state_create else { return nil }
        let pointer = create(instance, context.handle, OpsTable.native, Int64(batch), Int64(capacity))
        try context.check(origin: origin)
        guard let pointer else { throw SeamError(.plugin, "state_create returned NULL", origin: origin) }
        return DecodingState(pointer, backbone: self)
    }

    fileprivate func destroy(_ state: OpaquePointer) { table.state_destroy(instance, state) }

    fileprivate func select(_ context: Context, _ state: OpaquePointer, _ rows: [Int32]) throws {
        rows.withUnsafeBufferPointer {
            table.state_select(instance, context.handle, OpsTable.native, state, $0.baseAddress, Int64(rows.count))
        }
        try context.check(origin: origin)
    }
}

/// A backbone's decoding state; destroyed with this object.
final class DecodingState {
    let pointer: OpaquePointer
    private let backbone: Backbone

    init(_ pointer: OpaquePointer, backbone: Backbone) {
        self.pointer = pointer
        self.backbone = backbone
    }

    deinit { backbone.destroy(pointer) }

    /// New row i continues old row `rows[i]`.
    func select(_ context: Context, rows: [Int32]) throws { try backbone.select(context, pointer, rows) }
}
