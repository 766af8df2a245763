import Files
import Support

/// Texts with their classes, in the order of the file.
///
/// A value type without shared state, free to cross threads.
public struct LabelledTexts: Sendable {
    /// Which columns of a file hold what: SST-2 has `sentence` and `label`, Banking77 `text` and `category`.
    public struct Columns: Sendable {
        /// The text.
        public var text = "text"
        /// The second text of a pair; nil takes the column `text_b` if there is one.
        public var textB: String?
        /// The label: a string or an integer.
        public var label = "label"
        /// The route that a text takes.
        public var route = RouteColumn.none

        /// `text`, perhaps `text_b`, and `label`.
        public init() {}
    }

    /// The file that the texts came from, for error sentences.
    public let name: String
    /// The texts or pairs.
    public let inputs: [InputText]
    /// The class of each, a place in `labelNames`.
    public let labels: [Int]
    /// The classes.
    public let labelNames: [String]
    /// The route of each row, nil for the default one; empty: that of all.
    public let routes: [String?]
    /// The line of the file on which each row starts, counted from 1.
    public let lines: [Int]

    /// The number of rows, 1 or more.
    public var count: Int { inputs.count }

    /// Reads a JSONL, CSV or TSV file.
    ///
    /// - Parameters:
    ///   - labelNames: the classes in order, as the verbalizer has them; nil takes the file's labels in the order of
    ///     their first appearance.
    /// - Throws: `SeamError` as `Table.read`; `.notFound` for a missing column; `.format` with the line for a text that
    ///   is empty or white space only, and for a label that is no string or integer, empty, or not among `labelNames`.
    public init(_ path: String, columns: Columns = Columns(), labelNames: [String]? = nil) throws {
        try self.init(Table.read(path), columns: columns, labelNames: labelNames)
    }

    /// Reads a table that is in memory, as above.
    public init(_ table: Table, columns: Columns = Columns(), labelNames: [String]? = nil) throws {
        let second = columns.textB ?? (table.columns.containsExactly("text_b") ? "text_b" : nil)
        try table.require(columns: [columns.text, columns.label] + (second.map { [$0] } ?? []))
        let texts = try Self.texts(table, columns.text)
        if let second {
            inputs = zip(texts, try Self.texts(table, second)).map { InputText($0, $1) }
        } else {
            inputs = texts.map { InputText($0) }
        }
        (labels, self.labelNames) = try Self.labels(table, columns.label, labelNames)
        routes = try table.routes(columns.route)
        name = table.name
        lines = table.lines
    }

    private static func texts(_ table: Table, _ column: String) throws -> [String] {
        let texts = try table.strings(column)
        for (text, line) in zip(texts, table.lines)
        where text.unicodeScalars.allSatisfy(\.properties.isWhitespace) {
            throw SeamError(.format, "\(table.name), line \(line): \"\(column)\" must be a text, found an empty one")
        }
        return texts
    }

    private static func labels(_ table: Table, _ column: String, _ known: [String]?) throws -> ([Int], [String]) {
        var names = known ?? []
        var numbers = [TextKey: Int](
            names.enumerated().map { (TextKey($1), $0) }, uniquingKeysWith: { first, _ in first })
        let labels = try zip(table.values(column), table.lines).map { cell, line in
            let place = "\(table.name), line \(line)"
            guard let label = cell.stringValue ?? cell.intValue.map(String.init) else {
                throw SeamError(
                    .format, "\(place): \"\(column)\" must be a label, a string or an integer, found \(cell.kind)")
            }
            guard !label.isEmpty else {
                throw SeamError(.format, "\(place): \"\(column)\" must be a label, found an empty one")
            }
            if let number = numbers[TextKey(label)] { return number }
            guard known == nil else {
                let shown = names.prefix(10).map { "\"\($0)\"" }.joined(separator: ", ")
                let more = names.count > 10 ? " and \(names.count - 10) more" : ""
                throw SeamError(
                    .format, "\(place): the label \"\(label.prefix(60))\" is unknown, known are \(shown)\(more)")
            }
            numbers[TextKey(label)] = names.count
            names.append(label)
            return names.count - 1
        }
        return (labels, names)
    }

    /// The label names in an order that does not depend on that of the rows: by their numbers where all are integers, else
    /// by their UTF-8 bytes.
    public var sortedLabelNames: [String] {
        let numbers = labelNames.compactMap { Int($0) }
        return numbers.count == labelNames.count
            ? labelNames.sorted { (Int($0)!, TextKey($0)) < (Int($1)!, TextKey($1)) }
            : labelNames.sortedExactly()
    }

    /// The first `count` rows, or all if there are fewer.
    public func prefix(_ count: Int) -> LabelledTexts {
        LabelledTexts(
            name: name, inputs: Array(inputs.prefix(count)), labels: Array(labels.prefix(count)),
            labelNames: labelNames, routes: Array(routes.prefix(count)), lines: Array(lines.prefix(count)))
    }

    private init(
        name: String, inputs: [InputText], labels: [Int], labelNames: [String], routes: [String?], lines: [Int]
    ) {
        (self.name, self.inputs, self.labels) = (name, inputs, labels)
        (self.labelNames, self.routes, self.lines) = (labelNames, routes, lines)
    }

    /// Checks rows that a classifier is about to be trained on.
    ///
    /// Throws `SeamError(.format)` naming both lines for a text that stands there with two labels, and, unless
    /// `allowingDuplicates`, for one that stands there twice; `.invalidArgument` for a row that is not there.
    public func checkTraining(rows: [Int], allowingDuplicates: Bool = false) throws {
        var seen: [[UInt8]: Int] = [:]
        for row in rows {
            guard inputs.indices.contains(row) else {
                throw SeamError(.invalidArgument, "argument rows: \(name) has rows 0 to \(count - 1), found \(row)")
            }
            guard let other = seen.updateValue(row, forKey: inputs[row].bytes) else { continue }
            let place = "\(name): lines \(lines[other]) and \(lines[row]) hold the same text"
            guard labels[other] == labels[row] else {
                throw SeamError(
                    .format,
                    "\(place) with the labels \"\(labelNames[labels[other]])\" and \"\(labelNames[labels[row]])\"")
            }
            guard allowingDuplicates else {
                throw SeamError(.format, "\(place); remove one, or allow duplicates")
            }
        }
    }
}
