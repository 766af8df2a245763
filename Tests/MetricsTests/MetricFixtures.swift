import Glibc
import Testing

/// Segments with the scores that other programs give them (Fixtures/make_metric_fixtures.py for sacrebleu and
/// rouge-score, Fixtures/make_data_to_text_fixtures.py for those of the E2E challenge,
/// Fixtures/make_error_rate_fixtures.py for jiwer).
struct MetricGroup: Sendable, CustomTestStringConvertible {
    let number: Int
    var hypotheses: [String] = []
    var references: [[String]] = []
    var scores: [(name: String, value: Double)] = []

    var testDescription: String { "group \(number): \(hypotheses.prefix(2))" }

    static let all = groups(in: "metric_fixtures.txt")
    static let dataToText = groups(in: "data_to_text_fixtures.txt")
    static let errorRates = groups(in: "error_rate_fixtures.txt")

    /// Texts and the words that pycocoevalcap cuts them into.
    static let captionTokens: [(text: String, tokens: [String])] = lines(of: "data_to_text_fixtures.txt")
        .map { $0.split(separator: "\t") }
        .filter { $0[0] == "tokens" }
        .map { (unescape($0[1]), $0.dropFirst(2).map(unescape)) }

    private static func groups(in file: String) -> [MetricGroup] {
        var groups: [MetricGroup] = []
        var expectsNewGroup = true
        for line in lines(of: file) {
            let parts = line.split(separator: "\t", omittingEmptySubsequences: false)
            if parts[0] == "segment" {
                if expectsNewGroup { groups.append(MetricGroup(number: groups.count)) }
                expectsNewGroup = false
                groups[groups.count - 1].hypotheses.append(unescape(parts[1]))
                groups[groups.count - 1].references.append(parts.dropFirst(2).map(unescape))
            } else if parts[0] == "group" {
                groups[groups.count - 1].scores.append((String(parts[1]), Double(parts[2])!))
                expectsNewGroup = true
            }
        }
        return groups
    }

    private static func lines(of file: String, _ path: String = #filePath) -> [Substring] {
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        guard let file = fopen(folder + "/Fixtures/" + file, "r") else { return [] }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("#") }
    }

    private static func unescape(_ text: Substring) -> String {
        var result = String.UnicodeScalarView()
        var rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if scalar == "\\" {
                result.append(Unicode.Scalar(UInt32(String(rest.prefix(7).dropFirst()), radix: 16)!)!)
                rest = rest.dropFirst(7)
            } else {
                result.append(scalar)
            }
        }
        return String(result)
    }
}
