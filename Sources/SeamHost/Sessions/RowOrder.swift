import Engine
import Support

/// Consecutive rows of a pass that take one route.
struct RouteSlice: Equatable {
    /// Index in the session's chains.
    let route: Int
    let rows: Range<Int>
}

/// The order in which a pass has the rows of a batch: those of one route stand together, so that its adapters are given one
/// slice of them and nothing is gathered.
///
/// Routes come as their first rows do, and the rows of a route keep their order. Rows that stand together already are not
/// moved.
package struct RowOrder {
    let slices: [RouteSlice]
    /// The caller's row of each row of the pass; nil: the two orders are the same.
    let sources: [Int]?
    /// The pass's row of each of the caller's; nil as `sources`.
    let places: [Int]?

    var count: Int { slices.last?.rows.upperBound ?? 0 }

    /// - Parameter routes: of each row, in the caller's order, as indices in the session's chains.
    init(routes: [Int]) {
        var rows: [(route: Int, rows: [Int])] = []
        var known: [Int: Int] = [:]
        for (row, route) in routes.enumerated() {
            if let place = known[route] {
                rows[place].rows.append(row)
            } else {
                known[route] = rows.count
                rows.append((route, [row]))
            }
        }
        var start = 0
        slices = rows.map { route, own in
            defer { start += own.count }
            return RouteSlice(route: route, rows: start..<start + own.count)
        }
        let order = rows.flatMap(\.rows)
        guard order != Array(routes.indices) else {
            (sources, places) = (nil, nil)
            return
        }
        var inverse = order
        for (place, row) in order.enumerated() { inverse[row] = place }
        (sources, places) = (order, inverse)
    }

    /// The indices in the session's chains of the routes that are taken, each once.
    var routes: [Int] { slices.map(\.route) }

    /// The route of each row of the pass, as a place in `routes`.
    var routeOfRow: [Int] { slices.enumerated().flatMap { place, slice in slice.rows.map { _ in place } } }

    /// The row in the caller's order of a row of the pass.
    func callersRow(_ row: Int) -> Int { sources?[row] ?? row }

    /// The row of the pass of a row in the caller's order.
    func row(ofCallers row: Int) -> Int { places?[row] ?? row }

    /// Values of the caller's rows, one each, in the order of the pass.
    func ordered<Value>(_ values: [Value]) -> [Value] { sources.map { $0.map { values[$0] } } ?? values }

    /// The caller's rows in the order of the pass; alive as long as the context.
    func ordered(_ x: Tensor, in context: Context) throws -> Tensor { try rows(sources, of: x, in: context) }

    /// The rows of the pass in the caller's order; alive as long as the context.
    func restored(_ x: Tensor, in context: Context) throws -> Tensor { try rows(places, of: x, in: context) }

    private func rows(_ rows: [Int]?, of x: Tensor, in context: Context) throws -> Tensor {
        guard let rows else { return x }
        let index = try context.constant(rows.map(Int32.init), [rows.count])
        return context.retain(try context.indexSelect(x, axis: 0, index: index))
    }

    /// Runs what each route does on its rows of x, [rows, ...], and puts the results, of the same shapes, together.
    /// - Parameter body: is given the rows of a slice, alive as long as the context.
    func apply(
        to x: Tensor, in context: Context, _ body: (RouteSlice, Tensor) throws -> Tensor
    ) throws -> Tensor {
        if slices.count == 1 { return try body(slices[0], x) }
        let parts = try context.takenApart(x, rows: slices.map(\.rows.count))
        return try context.joined(parts, as: try zip(slices, parts.tensors).map { try body($0, $1) })
    }
}

extension RouteSlice {
    /// Its rows of a tensor of the whole pass, alive as long as the context. What has another number of rows than the pass
    /// is for all of them, and comes back as it is.
    func rows(of x: Tensor, in context: Context, outOf count: Int) throws -> Tensor {
        guard x.rank > 0, x.shape[0] == count, rows.count != count else { return x }
        return context.retain(try context.slice(x, axis: 0, start: rows.lowerBound, length: rows.count))
    }
}

/// A batch as a pass of a session has it: its rows in the order of their routes.
package struct RoutedBatch {
    /// The batch with its rows in the order of the pass.
    package let batch: Batch
    /// Which row came from where.
    package let rows: RowOrder

    /// - Throws: `.notFound` for a route that the session does not have.
    package init(_ batch: Batch, in session: Session) throws {
        rows = try session.rowOrder(of: batch)
        self.batch = rows.sources.map { batch.taking(rows: $0) } ?? batch
    }
}
