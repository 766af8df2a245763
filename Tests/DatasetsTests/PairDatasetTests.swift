import Datasets
import Files
import Support
import TestSupport
import Testing
import Tokenizers

/// SplitMix64, so that orders can be written down here.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}

private let file: JSON = [
    "added_tokens": [], "pre_tokenizer": ["type": "WhitespaceSplit"],
    "post_processor": [
        "type": "TemplateProcessing", "pair": [],
        "single": [
            ["SpecialToken": ["id": "<s>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]],
            ["SpecialToken": ["id": "</s>", "type_id": 0]],
        ],
        "special_tokens": [
            "<s>": ["id": "<s>", "ids": [1], "tokens": ["<s>"]],
            "</s>": ["id": "</s>", "ids": [2], "tokens": ["</s>"]],
        ],
    ],
    "model": [
        "type": "WordLevel", "unk_token": "<unk>", "vocab": ["<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4],
    ],
]

private func table(_ text: String, _ format: TableFormat) throws -> Table {
    try Table.parse(text, format: format, name: "pairs")
}

/// Rows whose sources have these lengths.
private func dataset(lengths: [Int]) throws -> PairDataset {
    let rows = lengths.map { "{\"input_ids\": \(Array(repeating: 1, count: $0)), \"labels\": [1]}" }
    return try PairDataset(idsIn: table(rows.joined(separator: "\n"), .jsonl), vocabularySize: 2)
}

@Suite struct PairDatasets {
    let tokenizer: Tokenizer
    init() throws { tokenizer = try makeTokenizer(file) }

    @Test func textsOfEveryFormat() throws {
        let texts: [(String, TableFormat)] = [
            ("{\"source\": \"a b\", \"target\": \"b\"}\n\n{\"target\": \"x\", \"source\": \"a\"}", .jsonl),
            ("source,target\na b,b\na,x\n", .csv), ("source\ttarget\na b\tb\na\tx\n", .tsv),
        ]
        for (text, format) in texts {
            let pairs = try PairDataset(table(text, format), tokenizer: tokenizer)
            #expect(pairs.count == 2)
            #expect(pairs.sources == [[1, 3, 4, 2], [1, 3, 2]])
            #expect(pairs.targets == [[1, 4, 2], [1, 0, 2]])
        }
    }

    @Test func aFileWithOtherColumnsAndADecoderStart() throws {
        let folder = try ScratchFolder(["p.csv": "x,y\na,b a\n"])
        var options = PairDataset.Options()
        (options.sourceColumn, options.targetColumn, options.decoderStartToken) = ("y", "x", 1)
        let pairs = try PairDataset(FileSystem.join(folder.path, "p.csv"), tokenizer: tokenizer, options: options)
        #expect(pairs.sources == [[1, 4, 3, 2]])
        #expect(pairs.targets == [[3, 2]])
        #expect(pairs.lines == [2])
    }

    /// A target is what a decoder-only model says after its source: no begin in front, one end behind.
    @Test func targetsThatContinueTheirSources() throws {
        var options = PairDataset.Options()
        (options.continuationEnd, options.maxSourceLength) = (2, 7)
        let pairs = try PairDataset(
            table("source,target\na,b\nb,a </s>\n", .csv), tokenizer: tokenizer, options: options)
        #expect(pairs.sources == [[1, 3, 2], [1, 4, 2]])
        #expect(pairs.targets == [[4, 2], [3, 2]])
        expectError(.format, "pairs, line 3", "\"target\"", "at most 7 tokens together", "4 and 4") {
            try PairDataset(
                table("source,target\na b,a b\na b,a b a\n", .csv), tokenizer: tokenizer, options: options)
        }
    }

    @Test func idsThatWerePrepared() throws {
        let text = "{\"input_ids\": [1, 2], \"labels\": [0]}\n{\"input_ids\": [4], \"labels\": [3, 3]}"
        let pairs = try PairDataset(idsIn: table(text, .jsonl), vocabularySize: 5)
        #expect(pairs.sources == [[1, 2], [4]])
        #expect(pairs.targets == [[0], [3, 3]])
    }

    @Test func refusals() throws {
        var options = PairDataset.Options()
        (options.maxSourceLength, options.maxTargetLength) = (3, 3)
        func read(_ text: String, _ format: TableFormat = .jsonl) throws -> PairDataset {
            try PairDataset(table(text, format), tokenizer: tokenizer, options: options)
        }
        let good = "{\"source\": \"a\", \"target\": \"b\"}\n"
        expectError(.format, "pairs, line 2", "\"source\"", "empty") {
            try read(good + "{\"source\": \"\", \"target\": \"b\"}")
        }
        expectError(.format, "pairs, line 2", "\"target\"", "empty") {
            try read(good + "{\"source\": \"a\", \"target\": \" \"}")
        }
        expectError(.format, "line 3", "\"source\"", "at most 3", "4") {
            try read(good + "\n{\"source\": \"a b\", \"target\": \"b\"}")
        }
        expectError(.format, "line 2", "\"target\"", "at most 3", "5") { try read("source,target\na,a b b\n", .csv) }
        expectError(.format, "line 1", "\"source\"", "a string") { try read("{\"source\": 3, \"target\": \"b\"}") }
        expectError(.notFound, "pairs", "\"source\"", "\"text\"") { try read("{\"text\": \"a\", \"target\": \"b\"}") }

        func ids(_ row: String) throws -> PairDataset {
            try PairDataset(idsIn: table(row, .jsonl), vocabularySize: 5, options: options)
        }
        expectError(.format, "line 1", "\"input_ids\"", "from 0 to 4", "5") {
            try ids("{\"input_ids\": [5], \"labels\": [1]}")
        }
        expectError(.format, "line 1", "\"labels\"", "-100") { try ids("{\"input_ids\": [1], \"labels\": [-100]}") }
        expectError(.format, "line 1", "\"labels\"", "none") { try ids("{\"input_ids\": [1], \"labels\": []}") }
        expectError(.format, "line 1", "\"input_ids\"", "at most 3") {
            try ids("{\"input_ids\": [1, 1, 1, 1], \"labels\": [1]}")
        }
    }
}

@Suite struct Batches {
    @Test func theOrderIsThatOfTheDescription() {
        var generator = SplitMix(state: 42)
        let order = shuffledOrder(10, by: &generator)
        // As a program of a few lines of Python computes it.
        #expect(order == [8, 3, 6, 5, 4, 0, 9, 2, 1, 7])
        #expect(shuffledOrder(0, by: &generator) == [])
        #expect(shuffledOrder(1, by: &generator) == [0])
    }

    @Test func everyOrderIsEquallyLikely() {
        var generator = SplitMix(state: 1)
        var counts: [[Int]: Int] = [:]
        for _ in 0..<6000 { counts[shuffledOrder(3, by: &generator), default: 0] += 1 }
        #expect(counts.count == 6)
        #expect(counts.values.allSatisfy { (850...1150).contains($0) })
    }

    @Test func plainBatches() throws {
        let pairs = try dataset(lengths: [1, 2, 3, 4, 5])
        #expect(try pairs.batches(size: 2) == [[0, 1], [2, 3], [4]])
        #expect(try pairs.batches(size: 9) == [[0, 1, 2, 3, 4]])
        var (first, second) = (SplitMix(state: 5), SplitMix(state: 5))
        let batches = try pairs.batches(size: 2, shuffledBy: &first)
        #expect(batches.map(\.count) == [2, 2, 1])
        #expect(batches.flatMap(\.self).sorted() == [0, 1, 2, 3, 4])
        #expect(try pairs.batches(size: 2, shuffledBy: &second) == batches)
        expectError(.invalidArgument, "0") { try pairs.batches(size: 0) }
        expectError(.invalidArgument, "0") { try pairs.batches(size: 1, groupedByLengthIn: 0, shuffledBy: &first) }
        expectError(.invalidArgument, "-1") { try pairs.batches(size: -1, groupedByLengthIn: 1, shuffledBy: &first) }
    }

    @Test func batchesOfLikeLength() throws {
        var generator = SplitMix(state: 9)
        let lengths = (0..<203).map { _ in Int.random(in: 1...90, using: &generator) }
        let pairs = try dataset(lengths: lengths)
        func padding(_ batches: [[Int]]) -> Int {
            batches.reduce(0) { sum, batch in
                let longest = batch.map { lengths[$0] }.max()!
                return sum + batch.reduce(0) { $0 + longest - lengths[$1] }
            }
        }
        var (first, second) = (SplitMix(state: 3), SplitMix(state: 3))
        let plain = try pairs.batches(size: 8, shuffledBy: &generator)
        let grouped = try pairs.batches(size: 8, groupedByLengthIn: 10, shuffledBy: &first)
        #expect(try pairs.batches(size: 8, groupedByLengthIn: 10, shuffledBy: &second) == grouped)
        #expect(grouped.flatMap(\.self).sorted() == Array(0..<203))
        #expect(grouped.count == 26)
        #expect(padding(grouped) < padding(plain) / 3)
        let all = try pairs.batches(size: 8, groupedByLengthIn: .max, shuffledBy: &first)
        #expect(padding(all) < padding(grouped))
        #expect(all.flatMap(\.self).sorted() == Array(0..<203))
    }
}
