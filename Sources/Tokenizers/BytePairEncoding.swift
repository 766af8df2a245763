import Files
import Support

/// Each piece is cut into characters, which are merged in the order of the merges (Sennrich, Haddow and Birch,
/// "Neural Machine Translation of Rare Words with Subword Units", 2016).
struct BytePairEncoding: TokenizerModel {
    private let vocabulary: Vocabulary
    private let merges: MergeTable
    /// The ids of the characters below U+0800, -1 where there is none.
    private let shortIDs: [Int32]
    /// The ids of "<0x00>" to "<0xFF>", nil where not all are tokens or they are not to be used.
    private let byteIDs: [Int32?]?
    private let unknown: UnknownToken?
    private let fusesUnknown: Bool
    private let ignoresMerges: Bool

    init(_ part: TokenizerPart) throws {
        try part.allow(
            "type", "vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
            "fuse_unk", "byte_fallback", "ignore_merges")
        if let dropout = part.member("dropout"), dropout != .null, dropout.doubleValue != 0 {
            throw part.error(.unsupported, "has a \"dropout\", which makes ids random, supported is null")
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let affix = try part.optionalString(key), !affix.isEmpty {
                throw part.error(.unsupported, "has \"\(affix)\" as \"\(key)\", supported is null")
            }
        }
        let vocabulary = try part.vocabulary()
        self.init(
            vocabulary: vocabulary,
            merges: try MergeTable(Self.merges(part), vocabulary, part.error),
            unknown: try part.optionalString("unk_token").map { UnknownToken($0, in: vocabulary, place: part.place) },
            fusesUnknown: try part.bool("fuse_unk", default: false),
            byteFallback: try part.bool("byte_fallback", default: false),
            ignoresMerges: try part.bool("ignore_merges", default: false))
    }

    init(
        vocabulary: Vocabulary, merges: MergeTable, unknown: UnknownToken? = nil, fusesUnknown: Bool = false,
        byteFallback: Bool = false, ignoresMerges: Bool = false
    ) {
        self.vocabulary = vocabulary
        self.merges = merges
        self.unknown = unknown
        self.fusesUnknown = fusesUnknown
        self.ignoresMerges = ignoresMerges
        shortIDs = (0..<0x800).map { vocabulary.id(of: String(Unicode.Scalar($0 as UInt16)!)) ?? -1 }
        byteIDs = byteFallback ? (0...255).map { vocabulary.id(of: byteToken($0)) } : nil
    }

    var size: Int { vocabulary.count }
    var highestID: Int { vocabulary.highestID }
    func id(of token: String) -> Int32? { vocabulary.id(of: token) }
    func token(of id: Int32) -> String? { vocabulary.token(of: id) }
    var unknownID: Int32? { unknown?.id }

    func append(_ pieces: Pieces, to ids: inout [Int32]) throws {
        var tokens = MergingTokens()
        for range in pieces.ranges {
            if ignoresMerges, let id = vocabulary.id(of: pieces.text, range) {
                ids.append(id)
                continue
            }
            tokens.removeAll()
            try appendCharacters(of: pieces.text, range, to: &tokens)
            tokens.merge(by: merges)
            ids += tokens.ids
        }
    }

    private func appendCharacters(of text: [UInt8], _ range: Range<Int>, to tokens: inout MergingTokens) throws {
        var position = range.lowerBound
        // `tokenizers` holds an unknown token back until the next known one, and lets those of bytes pass it.
        var pending: Int32?
        while position < range.upperBound {
            let character = position..<position + lengthOfScalar(text[position])
            position = character.upperBound
            if let id = id(ofCharacter: text, character) {
                if let unknown = pending { tokens.append(unknown) }
                pending = nil
                tokens.append(id)
            } else if let bytes = fallback(text[character]) {
                bytes.forEach { tokens.append($0) }
            } else if let unknown {
                if let unknown = pending, !fusesUnknown { tokens.append(unknown) }
                pending = try unknown.id(for: text[character])
            }
        }
        if let unknown = pending { tokens.append(unknown) }
    }

    private func id(ofCharacter text: [UInt8], _ character: Range<Int>) -> Int32? {
        guard character.count <= 2 else { return vocabulary.id(of: text, character) }
        let id = shortIDs[Int(scalar(in: text, at: character.lowerBound).value)]
        return id < 0 ? nil : id
    }

    private func fallback(_ character: ArraySlice<UInt8>) -> [Int32]? {
        guard let byteIDs else { return nil }
        let found = character.compactMap { byteIDs[Int($0)] }
        return found.count == character.count ? found : nil
    }

    /// The pairs under "merges": `["a", "b"]` or `"a b"`.
    private static func merges(_ part: TokenizerPart) throws -> [(left: String, right: String)] {
        guard let elements = part.member("merges")?.arrayValue else {
            throw part.error(.format, "must have an array as \"merges\"")
        }
        return try elements.enumerated().compactMap { number, element in
            if let pair = element.arrayValue?.compactMap(\.stringValue), pair.count == 2 { return (pair[0], pair[1]) }
            guard let text = element.stringValue else {
                throw part.error(
                    .format, "must have pairs of strings as \"merges\", found \(element.kind) at \(number)")
            }
            return text.utf8.starts(with: "#version".utf8) ? nil : try mergePair(text, number, part.error)
        }
    }
}

/// The token that stands for a byte without a character: "<0x0A>".
func byteToken(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16, uppercase: true)
    return "<0x\(digits.count == 1 ? "0" : "")\(digits)>"
}

/// The two tokens of a merge written as `"a b"`. `error` makes the error of the place where it is written.
func mergePair(
    _ text: String, _ number: Int, _ error: (ErrorCode, String) -> SeamError
) throws -> (left: String, right: String) {
    let pair = text.utf8.split(separator: 0x20, omittingEmptySubsequences: false)
    guard pair.count == 2 else {
        throw error(.format, "must have two tokens with a space between as each merge, found \"\(text)\" at \(number)")
    }
    return (String(decoding: pair[0], as: UTF8.self), String(decoding: pair[1], as: UTF8.self))
}

extension MergeTable {
    /// Throws the error of `error` where a merge is of tokens, or makes one, that the vocabulary does not have.
    init(
        _ pairs: [(left: String, right: String)], _ vocabulary: Vocabulary,
        _ error: (ErrorCode, String) -> SeamError
    ) throws {
        self.init(minimumCapacity: pairs.count)
        func id(_ token: String, _ pair: (left: String, right: String)) throws -> Int32 {
            guard let id = vocabulary.id(of: token) else {
                throw error(
                    .incompatible,
                    "merges \"\(pair.left)\" and \"\(pair.right)\", but \"\(token)\" is not in the vocabulary")
            }
            return id
        }
        for (rank, pair) in pairs.enumerated() {
            insert(
                try id(pair.left, pair), try id(pair.right, pair), rank: UInt32(clamping: rank),
                result: try id(pair.left + pair.right, pair))
        }
    }
}
