import Support

/// How a data set file is written.
public enum TableFormat: String, Sendable, CaseIterable {
    /// One JSON object a line; blank lines are skipped.
    case jsonl
    /// RFC 4180: comma separated, quotes around cells that hold commas, quotes or line ends.
    case csv
    /// Tab separated and without quoting, as the GLUE files are: a quote is a character like any other.
    case tsv

    /// The format that a file name ends in, or nil.
    public init?(path: String) {
        guard let ending = path.split(separator: ".").last?.lowercased() else { return nil }
        self.init(rawValue: ending == "ndjson" ? "jsonl" : ending)
    }
}

/// A data set in memory: named columns and rows in the order of the file.
///
/// Cells of CSV and TSV files are strings; cells of JSONL files are the values as written, and a key that
/// a line lacks is null there. A value type without shared state, free to cross threads.
public struct Table: Sendable {
    /// The file or argument that it came from, for error sentences.
    public let name: String
    /// Column names, in the order of the header or of their first appearance in a JSONL file.
    public let columns: [String]
    /// The line of the file on which each row starts, counted from 1.
    public let lines: [Int]
    /// Cells by column, then row: consumers read whole columns.
    private let cells: [[JSON]]

    /// The number of rows, at least 1.
    public var count: Int { lines.count }

    init(name: String, columns: [String], lines: [Int], cells: [[JSON]]) {
        self.name = name
        self.columns = columns
        self.lines = lines
        self.cells = cells
    }

    /// Reads a file; the format follows from its ending unless given.
    ///
    /// Throws `SeamError`: as `MappedFile` for a file that cannot be read or is empty, `.unsupported` for
    /// another ending, and `.format`, with the line, for text that is not UTF-8, a malformed JSON line, a
    /// row with more or fewer cells than the header, a column name that appears twice, and a file without
    /// rows.
    public static func read(_ path: String, format: TableFormat? = nil) throws -> Table {
        guard let format = format ?? TableFormat(path: path) else {
            throw SeamError(
                .unsupported,
                "cannot tell the format of \"\(path)\", expected a name ending in .jsonl, .ndjson, .csv or .tsv")
        }
        return try MappedFile(path).withBytes { try parse($0, format: format, name: path) }
    }

    /// Parses a text; `name` stands for the file in error sentences.
    public static func parse(_ text: String, format: TableFormat, name: String) throws -> Table {
        var text = text
        return try text.withUTF8 { try parse(UnsafeRawBufferPointer($0), format: format, name: name) }
    }

    /// Parses bytes as above, which are read only during the call.
    public static func parse(
        _ bytes: UnsafeRawBufferPointer, format: TableFormat, name: String
    ) throws -> Table {
        let text = try UTF8Text(bytes, name: name)
        guard !text.isBlank else {
            throw SeamError(.format, "\(name): expected rows of data, found an empty text")
        }
        switch format {
        case .jsonl: return try JSONLines.table(text.bytes, name: name)
        case .csv: return try DelimitedText(text.bytes, comma: UInt8(ascii: ","), quotes: true, name: name).table()
        case .tsv: return try DelimitedText(text.bytes, comma: UInt8(ascii: "\t"), quotes: false, name: name).table()
        }
    }

    /// Throws `SeamError(.notFound)` naming those of `names` that are not columns, and the columns there are.
    public func require(columns names: [String]) throws {
        let absent = names.filter { !columns.containsExactly($0) }
        guard absent.isEmpty else {
            throw SeamError(
                .notFound,
                "\(name) has no column \(Self.quoted(absent)), its columns are \(Self.quoted(columns))")
        }
    }

    /// A column's cells as they are. Throws as `require(columns:)`.
    public func values(_ column: String) throws -> [JSON] {
        try require(columns: [column])
        return cells[columns.firstIndexExactly(of: column)!]
    }

    /// A column of strings. Throws as `require(columns:)`, or `.format` with the line of a cell that is
    /// something else; a number in a JSONL file is not taken for a string.
    public func strings(_ column: String) throws -> [String] {
        try converted(column, "a string", \.stringValue)
    }

    /// A column of integers, such as class labels; in CSV and TSV files the text of an integer.
    public func integers(_ column: String) throws -> [Int] {
        try converted(column, "an integer") { $0.intValue ?? $0.stringValue.flatMap { Int($0) } }
    }

    /// A column of finite numbers, such as regression targets; in CSV and TSV files the text of a number.
    public func numbers(_ column: String) throws -> [Double] {
        try converted(column, "a number") { cell in
            let number = cell.doubleValue ?? cell.stringValue.flatMap { Double($0) }
            return number.flatMap { $0.isFinite ? $0 : nil }
        }
    }

    /// A column of integer arrays, such as token ids prepared elsewhere; JSONL files only.
    public func integerArrays(_ column: String) throws -> [[Int]] {
        try converted(column, "an array of integers") { cell in
            guard let elements = cell.arrayValue else { return nil }
            let integers = elements.compactMap(\.intValue)
            return integers.count == elements.count ? integers : nil
        }
    }

    private func converted<Value>(
        _ column: String, _ expected: String, _ convert: (JSON) -> Value?
    ) throws -> [Value] {
        try zip(values(column), lines).map { cell, line in
            guard let value = convert(cell) else {
                let found = cell.stringValue.map { "\"\($0.prefix(40))\"" } ?? cell.kind
                throw SeamError(.format, "\(name), line \(line): \"\(column)\" must be \(expected), found \(found)")
            }
            return value
        }
    }

    private static func quoted(_ names: [String]) -> String {
        names.map { "\"\($0)\"" }.joined(separator: ", ")
    }
}
