import Files
import Support

/// The column of a file that says which adapters a row takes, by the name of their route.
public enum RouteColumn: Sendable, Equatable {
    /// There is none: all rows take the default route.
    case none
    /// The column of that name, where the file has it.
    case optional(String)
    case required(String)
}

extension Table {
    /// The route of each row, nil for the default one, where the cell is empty or null; empty without the column.
    /// - Throws: `.notFound` for a required column that is not there, `.format` with the line for a cell that is no string.
    public func routes(_ column: RouteColumn) throws -> [String?] {
        let name: String
        switch column {
        case .none: return []
        case .required(let given): name = given
        case .optional(let given):
            guard columns.containsExactly(given) else { return [] }
            name = given
        }
        return try zip(values(name), lines).map { cell, line in
            guard let route = cell == .null ? "" : cell.stringValue else {
                throw SeamError(
                    .format, "\(self.name), line \(line): \"\(name)\" must be a string, found \(cell.kind)")
            }
            return route.isEmpty ? nil : route
        }
    }
}
