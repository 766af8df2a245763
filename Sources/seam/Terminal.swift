import Glibc
import Support
import Synchronization

/// A line or several to standard error, with other control characters escaped.
func printError(_ lines: String) {
    for line in lines.split(separator: "\n", omittingEmptySubsequences: false) {
        writeError(escapingControls(String(line)) + "\n")
    }
}

/// Unbuffered, in one call: C's `stderr` is a variable, which strict concurrency does not let through.
private func writeError(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
}

/// One line on a terminal, rewritten in place; plain lines, at most one in a few seconds, elsewhere.
struct ProgressLine {
    private let isTerminal = isatty(2) == 1
    private var lastShown = -Double.infinity

    /// Shows `text` if it is time to, or if `isLast`.
    mutating func show(_ text: String, isLast: Bool = false) {
        let now = monotonicSeconds()
        guard isLast || now - lastShown >= (isTerminal ? 0.1 : 5) else { return }
        lastShown = now
        if isTerminal {
            writeError("\r\u{1B}[K\(text)\(isLast ? "\n" : "")")
        } else {
            writeError(text + "\n")
        }
    }

    /// Ends a rewritten line, so that what follows starts on its own.
    mutating func interrupt() {
        guard isTerminal, lastShown > -Double.infinity else { return }
        writeError("\r\u{1B}[K")
    }
}

/// Ctrl-C as a question that long work asks: the first one asks it to stop cleanly, the second one kills.
enum Interruption {
    private static let isAsked = Atomic<Bool>(false)

    static func watch() {
        signal(SIGINT) { _ in
            Interruption.isAsked.store(true, ordering: .relaxed)
            signal(SIGINT, SIG_DFL)
        }
    }

    static var isRequested: Bool { isAsked.load(ordering: .relaxed) }
}

/// Rows of text with aligned columns; numbers to the right, control characters escaped.
func formatTable(_ source: [[String]]) -> String {
    let rows = source.map { $0.map(escapingControls) }
    guard let columns = rows.map(\.count).max() else { return "" }
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
        var line = ""
        for (column, cell) in row.enumerated() {
            let padding = String(repeating: " ", count: widths[column] - cell.count)
            let isNumber = column > 0 && cell.first.map { $0.isNumber || $0 == "-" } ?? false
            line += (column == 0 ? "" : "  ") + (isNumber ? padding + cell : cell + padding)
        }
        while line.last == " " { line.removeLast() }
        return line
    }.joined(separator: "\n")
}

/// Text as lines of at most `width` characters, each behind `indent`.
func wrapped(_ text: String, indent: String, width: Int = 96) -> String {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
        if !line.isEmpty && indent.count + line.count + 1 + word.count > width {
            lines.append(indent + line)
            line = ""
        }
        line += (line.isEmpty ? "" : " ") + word
    }
    if !line.isEmpty { lines.append(indent + line) }
    return lines.joined(separator: "\n")
}
