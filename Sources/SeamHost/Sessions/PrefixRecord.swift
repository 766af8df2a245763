import CSeam
import Engine

/// The prefixes of one attention as a backbone reads them, a `seam_prefix` for each layer, in memory of its own.
final class PrefixRecord {
    let pointer: UnsafePointer<UnsafePointer<seam_prefix>?>
    private let memory = Arena()
    /// Alive as long as their handles are here.
    private let tensors: [[Tensor?]]

    /// Nil where no route has a prefix.
    /// - Parameters:
    ///   - routes: for each route, by layer, keys and values [2, kv_heads, prefix, head_dim]; nil: none.
    ///   - rows: the route of each row; nil: all rows take the first.
    init?(routes: [[Tensor?]], rows: [Int32]?) {
        guard let layers = routes.first?.count, routes.contains(where: { $0.contains { $0 != nil } }) else {
            return nil
        }
        tensors = routes
        // The backbone goes on with them in other layers and steps: nothing may be written there.
        for tensor in routes.joined() { tensor?.keepValues() }
        let rowRoutes = rows.flatMap(memory.copy)
        var records: [seam_prefix] = []
        for layer in 0..<layers {
            var record = seam_prefix()
            record.struct_size = UInt32(MemoryLayout<seam_prefix>.size)
            record.route_count = UInt32(routes.count)
            record.keys_values = memory.copy(routes.map { $0[layer]?.handle })
            record.routes = rowRoutes
            record.row_count = rowRoutes == nil ? 0 : rows?.count ?? 0
            records.append(record)
        }
        guard let first = memory.copy(records) else { return nil }
        pointer = memory.copy((0..<layers).map { UnsafePointer<seam_prefix>?(first + $0) })!
    }
}
