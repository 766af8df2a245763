import Files
import Support

/// The `model` of a `tokenizer.json`: turns the pieces of a text into ids.
protocol TokenizerModel: Sendable {
    /// The number of tokens.
    var size: Int { get }
    /// The greatest id, which is beyond `size` where ids have gaps; -1 without tokens.
    var highestID: Int { get }
    func id(of token: String) -> Int32?
    func token(of id: Int32) -> String?
    /// The token for text that has none; nil where there is none, or the model does not know it from others.
    var unknownID: Int32? { get }
    /// Appends the ids of pieces, none of which is empty.
    func append(_ pieces: Pieces, to ids: inout [Int32]) throws
}

extension TokenizerModel {
    var highestID: Int { size - 1 }
}

func tokenizerModel(_ part: TokenizerPart) throws -> any TokenizerModel {
    // Older files do not say which it is, and `tokenizers` tells by what they have.
    if part.member("type") == nil {
        if part.member("merges") != nil { return try BytePairEncoding(part) }
        if part.member("vocab")?.arrayValue != nil { return try Unigram(part) }
        if part.member("max_input_chars_per_word") != nil { return try WordPiece(part) }
        if part.member("unk_token") != nil { return try WordLevel(part) }
    }
    return try part.typed([
        "WordLevel": WordLevel.init,
        "WordPiece": WordPiece.init,
        "BPE": BytePairEncoding.init,
        "Unigram": Unigram.init,
    ])
}

/// Each piece is a token, or the unknown token.
struct WordLevel: TokenizerModel {
    private let vocabulary: Vocabulary
    private let unknown: UnknownToken

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "vocab", "unk_token")
        vocabulary = try part.vocabulary()
        unknown = UnknownToken(try part.string("unk_token"), in: vocabulary, place: part.place)
    }

    var size: Int { vocabulary.count }
    var highestID: Int { vocabulary.highestID }
    func id(of token: String) -> Int32? { vocabulary.id(of: token) }
    func token(of id: Int32) -> String? { vocabulary.token(of: id) }
    var unknownID: Int32? { unknown.id }

    func append(_ pieces: Pieces, to ids: inout [Int32]) throws {
        for range in pieces.ranges {
            ids.append(try vocabulary.id(of: pieces.text, range) ?? unknown.id(for: pieces.text[range]))
        }
    }
}

/// The token for text that has none.
struct UnknownToken: Sendable {
    private let name: String
    let id: Int32?
    private let place: String

    init(_ name: String, in vocabulary: Vocabulary, place: String) {
        self.name = name
        self.place = place
        id = vocabulary.id(of: name)
    }

    /// Throws `SeamError(.notFound)`, with the beginning of the text, when the vocabulary has no such token.
    func id(for text: ArraySlice<UInt8>) throws -> Int32 {
        guard let id else {
            let start = String(decoding: text.prefix(40), as: UTF8.self)
            throw SeamError(
                .notFound,
                "\(place) has no token \"\(start)\", and none for unknown text, since \"\(name)\" is not in it")
        }
        return id
    }
}

extension TokenizerPart {
    /// The tokens and ids of the object "vocab".
    func vocabulary() throws -> Vocabulary {
        let members = try requirePart("vocab").value.objectValue!
        var vocabulary = Vocabulary(minimumCapacity: members.count)
        for (token, value) in members {
            guard let id = value.tokenID else {
                let found = value.intValue.map(String.init) ?? value.kind
                throw error(
                    .format, "must give the token \"\(token)\" an integer from 0 to 2147483647, found \(found)")
            }
            switch vocabulary.insert(token, id: id) {
            case .token: throw error(.format, "has the token \"\(token)\" twice")
            case .id:
                let other = vocabulary.token(of: id)!
                throw error(.format, "gives the id \(id) to \"\(other)\" and to \"\(token)\"")
            case nil: break
            }
        }
        return vocabulary
    }

    /// A string under `key`, or nil where that is missing or null.
    func optionalString(_ key: String) throws -> String? {
        (member(key) ?? .null) == .null ? nil : try string(key)
    }

    /// A boolean under `key`, or `value` where that is missing or null.
    func bool(_ key: String, default value: Bool) throws -> Bool {
        (member(key) ?? .null) == .null ? value : try bool(key)
    }
}
