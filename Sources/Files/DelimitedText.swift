import Support

/// Reads a text of rows and separated cells, the first row naming the columns, into a table.
///
/// Rows end with a line feed, alone or after a carriage return. Empty lines are skipped.
struct DelimitedText {
    private let bytes: UnsafeRawBufferPointer
    private let comma: UInt8
    private let quotes: Bool
    private let name: String
    private var position = 0
    private var line = 1

    private static let quote = UInt8(ascii: "\"")
    private static let lineFeed = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")

    /// `bytes` must be checked UTF-8 that is not blank, and is read until `table` returns.
    init(_ bytes: UnsafeRawBufferPointer, comma: UInt8, quotes: Bool, name: String) {
        self.bytes = bytes
        self.comma = comma
        self.quotes = quotes
        self.name = name
    }

    consuming func table() throws -> Table {
        guard let header = try nextRow() else {
            throw SeamError(.format, "\(name): expected a header row, found none")
        }
        var seen: Set<TextKey> = []
        if let twice = header.cells.first(where: { !seen.insert(TextKey($0)).inserted }) {
            throw SeamError(
                .format, "\(name), line \(header.line): the column \"\(twice)\" appears twice in the header")
        }
        var cells = [[JSON]](repeating: [], count: header.cells.count)
        var lines: [Int] = []
        while let row = try nextRow() {
            guard row.cells.count == header.cells.count else {
                throw SeamError(
                    .format,
                    "\(name), line \(row.line): expected \(header.cells.count) cells as in the header, found"
                        + " \(row.cells.count)")
            }
            for (column, cell) in row.cells.enumerated() { cells[column].append(.string(cell)) }
            lines.append(row.line)
        }
        guard !lines.isEmpty else {
            throw SeamError(.format, "\(name): expected rows after the header, found none")
        }
        return Table(name: name, columns: header.cells, lines: lines, cells: cells)
    }

    /// The next row that is not an empty line, with the line on which it starts.
    private mutating func nextRow() throws -> (cells: [String], line: Int)? {
        while position < bytes.count, skipLineEnd() {}
        guard position < bytes.count else { return nil }
        let start = line
        var cells: [String] = []
        while true {
            cells.append(quotes && current == Self.quote ? try quotedCell() : try plainCell())
            guard position < bytes.count, !skipLineEnd() else { return (cells, start) }
            position += 1
        }
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// Whether a row ends here.
    private var atLineEnd: Bool {
        switch current {
        case nil, Self.lineFeed: true
        case Self.carriageReturn: position + 1 == bytes.count || bytes[position + 1] == Self.lineFeed
        default: false
        }
    }

    private mutating func skipLineEnd() -> Bool {
        guard atLineEnd else { return false }
        if current == Self.carriageReturn { position += 1 }
        if current == Self.lineFeed { position += 1 }
        line += 1
        return true
    }

    private mutating func plainCell() throws -> String {
        let start = position
        while !atLineEnd, bytes[position] != comma {
            if quotes, bytes[position] == Self.quote {
                throw SeamError(
                    .format,
                    "\(name), line \(line): a quote stands inside a cell that does not start with one; put the cell"
                        + " in quotes and double the quotes in it")
            }
            position += 1
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private mutating func quotedCell() throws -> String {
        let firstLine = line
        var content: [UInt8] = []
        position += 1
        while let byte = current {
            position += 1
            if byte == Self.quote {
                guard current == Self.quote else {
                    guard atLineEnd || current == comma else {
                        throw SeamError(
                            .format,
                            "\(name), line \(line): expected a comma or the end of the line after a closing quote")
                    }
                    return String(decoding: content, as: UTF8.self)
                }
                position += 1
            }
            if byte == Self.lineFeed { line += 1 }
            content.append(byte)
        }
        throw SeamError(.format, "\(name), line \(firstLine): a cell starts with a quote that is never closed")
    }
}
