import Generation
import Glibc
import Testing

/// The lines of Fixtures/fixtures.txt, without comments, split at spaces.
func fixtureLines(_ path: String = #filePath) -> [[Substring]] {
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    guard let file = fopen(folder + "/Fixtures/fixtures.txt", "r") else { return [] }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&chunk, 1, chunk.count, file)
        if count == 0 { break }
        bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("#") }
        .map { $0.split(separator: " ", omittingEmptySubsequences: false) }
}

func numbers(_ text: Substring) -> [Int32] {
    text == "-" ? [] : text.split(separator: ",").map { Int32($0)! }
}

/// One search that Hugging Face ran, with its result.
struct SearchCase: CustomTestStringConvertible, Sendable {
    var settings: [String: Substring] = [:]
    var expected: [GeneratedSequence] = []

    var testDescription: String { settings.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }.joined(separator: " ") }

    func integer(_ name: String) -> Int { Int(settings[name]!)! }
    func real(_ name: String) -> Double { Double(settings[name]!)! }

    var options: GenerationOptions {
        var options = GenerationOptions(
            decoderStartToken: 0, eosTokens: numbers(settings["eos"]!), padToken: Int32(integer("pad")))
        options.maxNewTokens = integer("maxNew")
        options.minNewTokens = integer("minNew")
        options.beams = integer("beams")
        options.lengthPenalty = real("lengthPenalty")
        options.earlyStopping =
            settings["early"] == "whenFull" ? .whenFull : settings["early"] == "never" ? .never : .heuristic
        options.repetitionPenalty = Float(real("repetition"))
        options.noRepeatNgramSize = integer("ngram")
        options.numReturnSequences = integer("returns")
        options.forcedBosToken = numbers(settings["forcedBos"]!).first
        options.forcedEosTokens = numbers(settings["forcedEos"]!)
        options.badWords = numbers(settings["bad"]!).map { [$0] }
        return options
    }

    var model: HashModel {
        HashModel(
            batch: integer("batch"), vocabulary: integer("vocabulary"), scale: Float(real("scale")),
            bonus: Float(real("bonus")), bonusToken: Int(options.eosTokens.first ?? 1))
    }

    static let all: [SearchCase] = {
        var cases: [SearchCase] = []
        for words in fixtureLines() {
            if words[0] == "case" {
                var next = SearchCase()
                for word in words.dropFirst() {
                    let parts = word.split(separator: "=")
                    next.settings[String(parts[0])] = parts[1]
                }
                cases.append(next)
            } else if words[0] == "sequence" {
                cases[cases.count - 1].expected.append(
                    GeneratedSequence(
                        tokens: numbers(words[2]), score: Float(words[1])!,
                        tokenLogProbabilities: words[3].split(separator: ",").map { Float($0)! }))
            }
        }
        return cases
    }()
}
