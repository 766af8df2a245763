import Files
import Support
import TestSupport
import Testing
import Tokenizers

/// A tokenizer with the ids and texts that Hugging Face tokenizers gives (Fixtures/make_tokenizer_fixtures.py).
struct TokenizerFixture: Sendable, CustomTestStringConvertible {
    let name: String
    let size: Int
    let file: JSON
    let texts: [String]
    let ids: [(withSpecials: [Int32], without: [Int32])]
    let decoded: [(ids: [Int32], skipped: String, kept: String)]

    var testDescription: String { name }

    static let all: [TokenizerFixture] = try! read()

    private static func read() throws -> [TokenizerFixture] {
        let path = FileSystem.join(FileSystem.parent(#filePath), "Fixtures", "tokenizer_fixtures.jsonl")
        var lines = try FileSystem.readText(path).split(separator: "\n").map { try JSON.parse(String($0), name: path) }
        let shared = lines.removeFirst()
        return try lines.map { line in
            let kind = line["file"]!["model"]!["vocab"]!.stringValue!
            let tokens = try shared.requireStrings("vocabularies.\(kind)", in: path)
            let vocabulary = JSON.object(tokens.enumerated().map { ($1, .int(Int64($0))) })
            return TokenizerFixture(
                name: try line.requireString("name", in: path), size: try line.requireInt("size", in: path),
                file: line["file"]!.setting("model", line["file"]!["model"]!.setting("vocab", vocabulary)),
                texts: try shared.requireStrings("texts.\(kind)", in: path),
                ids: try line.requireArray("encoded", in: path).map { ($0.ids(0), $0.ids($0.arrayValue!.count - 1)) },
                decoded: try line.requireArray("decoded", in: path).map {
                    ($0.ids(0), $0.arrayValue![1].stringValue!, $0.arrayValue![2].stringValue!)
                })
        }
    }
}

extension JSON {
    fileprivate func ids(_ index: Int) -> [Int32] { arrayValue![index].arrayValue!.map { Int32($0.intValue!) } }

    /// This object with another value under `key`.
    func setting(_ key: String, _ value: JSON) -> JSON {
        .object((objectValue ?? []).filter { $0.key != key } + [(key, value)])
    }
}

/// The bytes, since `String` takes canonically equivalent texts for equal.
private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct TokenizerEquality {
    @Test(arguments: TokenizerFixture.all)
    func idsAndTextsAreThoseOfTokenizers(_ fixture: TokenizerFixture) throws {
        let tokenizer = try makeTokenizer(fixture.file)
        #expect(tokenizer.vocabularySize == fixture.size)
        #expect(fixture.texts.count == fixture.ids.count)
        for (text, expected) in zip(fixture.texts, fixture.ids) {
            let withSpecials = try tokenizer.encode(text)
            #expect(withSpecials == expected.withSpecials, "\(text.debugDescription)")
            let without = try tokenizer.encode(text, addSpecialTokens: false)
            #expect(without == expected.without, "\(text.debugDescription)")
        }
        for list in fixture.decoded {
            let skipped = try tokenizer.decode(list.ids)
            #expect(bytes(skipped) == bytes(list.skipped), "\(list.ids)")
            let kept = try tokenizer.decode(list.ids, skipSpecialTokens: false)
            #expect(bytes(kept) == bytes(list.kept), "\(list.ids)")
        }
    }

    @Test func thereAreFixtures() { #expect(TokenizerFixture.all.count > 30) }
}
