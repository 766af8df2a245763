import Glibc
import Testing

/// Segments with the scores that sacrebleu and rouge-score give them (Fixtures/make_metric_fixtures.py).
struct MetricGroup: Sendable, CustomTestStringConvertible {
    let number: Int
    var hypotheses: [String] = []
    var references: [[String]] = []
    var scores: [(name: String, value: Double)] = []

    var testDescription: String { "group \(number): \(hypotheses.prefix(2))" }

    static let all: [MetricGroup] = {
        var groups: [MetricGroup] = []
        var expectsNewGroup = true
        for line in fixtureLines() {
            let parts = line.split(separator: "\t", omittingEmptySubsequences: false)
            if parts[0] == "segment" {
                if expectsNewGroup { groups.append(MetricGroup(number: groups.count)) }
                expectsNewGroup = false
                groups[groups.count - 1].hypotheses.append(unescape(parts[1]))
                groups[groups.count - 1].references.append(parts.dropFirst(2).map(unescape))
            } else {
                groups[groups.count - 1].scores.append((String(parts[1]), Double(parts[2])!))
                expectsNewGroup = true
            }
        }
        return groups
    }()

    private static func fixtureLines(_ path: String = #filePath) -> [Substring] {
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        guard let file = fopen(folder + "/Fixtures/metric_fixtures.txt", "r") else { return [] }
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
