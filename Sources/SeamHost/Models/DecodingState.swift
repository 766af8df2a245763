import CSeam
import Engine
import Support

extension Backbone {
    func makeState(_ pass: BackbonePass, batch: Int, capacity: Int) throws -> DecodingState? {
        guard let create = table.state_create else { return nil }
        let pointer = pass.context.withPass(pass.weights) { create(instance, $0, Int64(batch), Int64(capacity)) }
        try pass.context.check(origin: origin)
        guard let pointer else { throw SeamError(.plugin, "state_create returned NULL", origin: origin) }
        return DecodingState(pointer, backbone: self)
    }

    fileprivate func destroy(_ state: OpaquePointer) { table.state_destroy(instance, state) }

    fileprivate func select(_ pass: BackbonePass, _ state: OpaquePointer, _ rows: [Int32]) throws {
        pass.context.withPass(pass.weights) { own in
            rows.withUnsafeBufferPointer {
                table.state_select(instance, own, state, $0.baseAddress, Int64(rows.count))
            }
        }
        try pass.context.check(origin: origin)
    }

    fileprivate func append(_ pass: BackbonePass, _ state: OpaquePointer, _ other: OpaquePointer) throws {
        guard let append = table.state_append else { throw cannotJoinRows }
        pass.context.withPass(pass.weights) { append(instance, $0, state, other) }
        try pass.context.check(origin: origin)
    }

    /// Why rows cannot join others, where `canJoinRows` says so.
    var cannotJoinRows: SeamError {
        SeamError(
            .unsupported,
            "\(name) lets no row join others that are being decoded (it has no state_append): generate whole batches",
            origin: origin)
    }
}

/// A backbone's decoding state; destroyed with this object.
package final class DecodingState {
    let pointer: OpaquePointer
    private let backbone: Backbone
    /// Whether it has seen no token yet.
    var isFresh = true

    init(_ pointer: OpaquePointer, backbone: Backbone) {
        self.pointer = pointer
        self.backbone = backbone
    }

    deinit { backbone.destroy(pointer) }

    /// New row i continues old row `rows[i]`.
    func select(_ pass: BackbonePass, rows: [Int32]) throws { try backbone.select(pass, pointer, rows) }

    /// The rows of `other` come behind those of this state, which can hold the greater of both capacities then. Both have
    /// seen tokens; `other` is only to be let go afterwards.
    func append(_ pass: BackbonePass, _ other: DecodingState) throws {
        try backbone.append(pass, pointer, other.pointer)
    }
}
