import Files
import Support

/// How the sources of a file of pairs are written.
public enum PairFormat: String, Sendable, CaseIterable {
    /// Texts, taken as they are.
    case text
    /// Meaning representations of the E2E NLG Challenge, which are linearised. Rows with the same one give several
    /// references of one example.
    case e2e
    /// Sound files, whose paths begin at the folder of the file that names them.
    case audio

    /// The columns of the format's own files.
    public var sourceColumn: String {
        switch self {
        case .text: "source"
        case .e2e: "mr"
        case .audio: "audio"
        }
    }
    public var targetColumn: String {
        switch self {
        case .text: "target"
        case .e2e: "ref"
        case .audio: "text"
        }
    }
}

/// Pairs of texts, in the order of the file, before a tokenizer sees them.
///
/// A value type without shared state, free to cross threads.
public struct TextPairs: Sendable {
    /// How the rows of a file become pairs.
    public struct Options: Sendable {
        public var format: PairFormat
        /// The columns of texts; at first those of the format.
        public var sourceColumn: String
        public var targetColumn: String
        /// Texts put in front of every source and behind it, after linearisation. Special tokens that they spell become
        /// their ids.
        public var sourcePrefix = ""
        public var sourceSuffix = ""
        /// The column of the route that each pair takes.
        public var routeColumn = RouteColumn.none

        public init(format: PairFormat = .text) {
            self.format = format
            sourceColumn = format.sourceColumn
            targetColumn = format.targetColumn
        }
    }

    /// The file that the pairs came from and its columns, for error sentences.
    public let name: String
    public let sourceColumn: String
    public let targetColumn: String
    /// The sources as a model is given them: linearised, with prefix and suffix; or paths of sound files.
    public let sources: [String]
    public let targets: [String]
    /// The route of each pair, nil for the default one; empty: that of all.
    public let routes: [String?]
    /// The line of the file on which each pair starts, counted from 1.
    public let lines: [Int]

    public var count: Int { sources.count }

    /// Reads a JSONL, CSV or TSV file of texts.
    ///
    /// Throws `SeamError`: as `Table.read`, and `.format` with the line for a text that is empty or white space only,
    /// or is no meaning representation where one is expected; `.notFound` for a sound file that is not there.
    public init(_ path: String, options: Options = Options()) throws {
        try self.init(Table.read(path), options: options)
    }

    /// Reads a table that is in memory, as above.
    public init(_ table: Table, options: Options = Options()) throws {
        try table.require(columns: [options.sourceColumn, options.targetColumn])
        func texts(_ column: String, _ convert: (String, _ place: String) throws -> String) throws -> [String] {
            try zip(table.strings(column), table.lines).map { text, line in
                let place = "\(table.name), line \(line): \"\(column)\""
                guard !text.unicodeScalars.allSatisfy(\.properties.isWhitespace) else {
                    throw SeamError(.format, "\(place) must be a text, found an empty one")
                }
                return try convert(text, place)
            }
        }
        targets = try texts(options.targetColumn) { text, _ in text }
        sources = try texts(options.sourceColumn) { text, place in
            switch options.format {
            case .text: return options.sourcePrefix + text + options.sourceSuffix
            case .e2e:
                let body = try MeaningRepresentation(text, place: place).linearised
                return options.sourcePrefix + body + options.sourceSuffix
            case .audio:
                let path = text.hasPrefix("/") ? text : FileSystem.join(FileSystem.parent(table.name), text)
                guard FileSystem.exists(path), !FileSystem.isDirectory(path) else {
                    throw SeamError(.notFound, "\(place) must name a sound file, found \"\(path)\", which is none")
                }
                return path
            }
        }
        routes = try table.routes(options.routeColumn)
        name = table.name
        sourceColumn = options.sourceColumn
        targetColumn = options.targetColumn
        lines = table.lines
    }

    /// The row numbers of each distinct source on a route, sources in the order of their first row: the targets of those
    /// rows are the references of one example.
    public func rowsBySource() -> [[Int]] {
        var groups: [[Int]] = []
        // Keyed by bytes: String equality would take composed and decomposed accents for the same text.
        var numbers: [[[UInt8]]: Int] = [:]
        for (row, source) in sources.enumerated() {
            let key = [Array(source.utf8), Array((routes.isEmpty ? "" : routes[row] ?? "").utf8)]
            if let number = numbers[key] {
                groups[number].append(row)
            } else {
                numbers[key] = groups.count
                groups.append([row])
            }
        }
        return groups
    }
}
