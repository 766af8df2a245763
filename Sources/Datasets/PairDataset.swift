import Files
import Support
import Tokenizers

/// Pairs of token id sequences to train or score a sequence-to-sequence model with, in the order of the file.
///
/// A value type without shared state, free to cross threads.
public struct PairDataset: Sendable {
    /// How the rows of a file become pairs.
    public struct Options: Sendable {
        /// The columns of texts.
        public var sourceColumn = "source"
        public var targetColumn = "target"
        /// The greatest number of ids of a source and of a target as they are in the data set, special tokens
        /// included; nil is no limit.
        public var maxSourceLength: Int?
        public var maxTargetLength: Int?
        /// The token that the model itself puts in front of the labels: a target that the tokenizer begins with it
        /// loses it. Nil leaves targets as the tokenizer gives them.
        public var decoderStartToken: Int32?
        /// For a decoder-only model, the token that ends a text. A target then continues its source: the tokenizer's
        /// special tokens are not put around it, only this one behind it, unless the text spells it; and
        /// `maxSourceLength` holds for source and target together. Nil: targets are texts of their own.
        public var continuationEnd: Int32?

        public init() {}
    }

    /// The file that the pairs came from, for error sentences.
    public let name: String
    public let sources: [[Int32]]
    public let targets: [[Int32]]
    /// The line of the file on which each pair starts, counted from 1.
    public let lines: [Int]

    public var count: Int { sources.count }

    /// Reads a JSONL, CSV or TSV file of texts.
    ///
    /// Throws `SeamError`: as `TextPairs` and `Tokenizer.encode`, and `.format` with the line for a text that has more
    /// ids than the options allow. Nothing is cut off, unless the tokenizer's own file says so (`truncationLength`).
    public init(_ path: String, tokenizer: Tokenizer, options: Options = Options()) throws {
        try self.init(Table.read(path), tokenizer: tokenizer, options: options)
    }

    /// Reads a table that is in memory, as above.
    public init(_ table: Table, tokenizer: Tokenizer, options: Options = Options()) throws {
        var columns = TextPairs.Options()
        columns.sourceColumn = options.sourceColumn
        columns.targetColumn = options.targetColumn
        try self.init(TextPairs(table, options: columns), tokenizer: tokenizer, options: options)
    }

    /// Encodes texts that are in memory, as above; their columns hold, not those of the options.
    public init(_ texts: TextPairs, tokenizer: Tokenizer, options: Options = Options()) throws {
        var targets = try texts.targets.map {
            try tokenizer.encode($0, addSpecialTokens: options.continuationEnd == nil)
        }
        if let end = options.continuationEnd {
            for row in targets.indices where targets[row].last != end { targets[row].append(end) }
        } else if let start = options.decoderStartToken {
            for row in targets.indices where targets[row].first == start { targets[row].removeFirst() }
        }
        try self.init(
            texts.name, texts.lines, sources: texts.sources.map { try tokenizer.encode($0) }, targets: targets,
            columns: (texts.sourceColumn, texts.targetColumn), options)
    }

    /// Takes ids that were prepared elsewhere, from the columns "input_ids" and "labels" of a JSONL file or those
    /// of the options' names when other than the default.
    ///
    /// Throws `SeamError` as `Table.read`, and `.format` with the line for ids that are not in
    /// `0..<vocabularySize`, an empty sequence, or one longer than the options allow.
    public init(idsIn path: String, vocabularySize: Int, options: Options = Options()) throws {
        try self.init(idsIn: Table.read(path), vocabularySize: vocabularySize, options: options)
    }

    /// Reads ids from a table that is in memory, as above.
    public init(idsIn table: Table, vocabularySize: Int, options: Options = Options()) throws {
        let plain = Options()
        let source = options.sourceColumn == plain.sourceColumn ? "input_ids" : options.sourceColumn
        let target = options.targetColumn == plain.targetColumn ? "labels" : options.targetColumn
        try table.require(columns: [source, target])
        func ids(_ column: String) throws -> [[Int32]] {
            try zip(table.integerArrays(column), table.lines).map { row, line in
                try row.map { value in
                    guard let id = Int32(exactly: value), (0..<vocabularySize).contains(value) else {
                        throw Self.error(
                            table.name, line, column,
                            "must hold token ids from 0 to \(vocabularySize - 1), found \(value)")
                    }
                    return id
                }
            }
        }
        try self.init(
            table.name, table.lines, sources: ids(source), targets: ids(target), columns: (source, target), options)
    }

    private init(
        _ name: String, _ lines: [Int], sources: [[Int32]], targets: [[Int32]],
        columns: (source: String, target: String), _ options: Options
    ) throws {
        func check(_ rows: [[Int32]], _ column: String, _ limit: Int?) throws {
            for (ids, line) in zip(rows, lines) {
                guard !ids.isEmpty else {
                    throw Self.error(name, line, column, "must have at least 1 token, found none")
                }
                if let limit, ids.count > limit {
                    throw Self.error(name, line, column, "must have at most \(limit) tokens, found \(ids.count)")
                }
            }
        }
        try check(sources, columns.source, options.maxSourceLength)
        try check(targets, columns.target, options.maxTargetLength)
        if options.continuationEnd != nil, let limit = options.maxSourceLength {
            for (row, line) in lines.enumerated() where sources[row].count + targets[row].count > limit {
                throw Self.error(
                    name, line, columns.target,
                    "must leave source and target at most \(limit) tokens together, found "
                        + "\(sources[row].count) and \(targets[row].count)")
            }
        }
        self.name = name
        self.sources = sources
        self.targets = targets
        self.lines = lines
    }

    private static func error(_ name: String, _ line: Int, _ column: String, _ sentence: String) -> SeamError {
        SeamError(.format, "\(name), line \(line): \"\(column)\" \(sentence)")
    }
}
