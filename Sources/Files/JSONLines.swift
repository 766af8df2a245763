import Support

/// Reads a JSONL text into a table.
enum JSONLines {
    /// `bytes` must be checked UTF-8 that is not blank.
    static func table(_ bytes: UnsafeRawBufferPointer, name: String) throws -> Table {
        var columns: [String] = []
        var places: [TextKey: Int] = [:]
        var cells: [[JSON]] = []
        var lines: [Int] = []
        let texts = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (number, line) in texts.enumerated() {
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { continue }
            let value = try JSON.parse(UnsafeRawBufferPointer(rebasing: line), name: name, firstLine: number + 1)
            guard let members = value.objectValue else {
                throw SeamError(.format, "\(name), line \(number + 1): expected a JSON object, found \(value.kind)")
            }
            for (key, value) in members {
                let place: Int
                if let known = places[TextKey(key)] {
                    place = known
                } else {
                    place = columns.count
                    places[TextKey(key)] = place
                    columns.append(key)
                    cells.append(Array(repeating: .null, count: lines.count))
                }
                cells[place].append(value)
            }
            lines.append(number + 1)
            for column in cells.indices where cells[column].count < lines.count { cells[column].append(.null) }
        }
        return Table(name: name, columns: columns, lines: lines, cells: cells)
    }
}
