/// Rows as lines with all cells of a column as wide as the widest: names to the left, figures to the right.
public func alignedColumns(_ rows: [[String]], between: String) -> [String] {
    let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
        zip(row, widths).enumerated().map { column, cell in
            let space = String(repeating: " ", count: cell.1 - cell.0.count)
            return column == 0 ? cell.0 + space : space + cell.0
        }.joined(separator: between)
    }
}

/// A table in Markdown. The first row is the header; all rows have as many cells.
public func markdownTable(_ rows: [[String]]) -> String {
    let escaped = rows.map { $0.map { $0.replacing("|", with: "\\|") } }
    var lines = alignedColumns(escaped, between: " | ").map { "| \($0) |" }
    let rule = ["---"] + (rows.first ?? []).dropFirst().map { _ in "---:" }
    lines.insert("| \(rule.joined(separator: " | ")) |", at: 1)
    return lines.joined(separator: "\n")
}
