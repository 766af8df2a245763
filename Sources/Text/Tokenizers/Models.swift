import Files
import Support

/// The `model` of a `tokenizer.json`: turns the pieces of a text into ids.
protocol TokenizerModel: Sendable {
    /// The number of tokens.
    var size: Int { get }
    func id(of token: String) -> Int32?
    func token(of id: Int32) -> String?
    /// Appends the ids of one piece, which is not empty.
    func append(_ piece: UnsafeBufferPointer<UInt8>, to ids: inout [Int32]) throws
}

func tokenizerModel(_ part: TokenizerPart) throws -> any TokenizerModel {
    try part.typed([
        "WordLevel": WordLevel.init
    ])
}

/// Each piece is a token, or the unknown token.
struct WordLevel: TokenizerModel {
    private let vocabulary: Vocabulary
    private let unknownToken: String
    private let unknownID: Int32?
    private let place: String

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "vocab", "unk_token")
        unknownToken = try part.string("unk_token")
        let members = try part.requirePart("vocab").value.objectValue!
        var vocabulary = Vocabulary(minimumCapacity: members.count)
        for (token, value) in members {
            guard let id = value.tokenID else {
                let found = value.intValue.map(String.init) ?? value.kind
                throw part.error(
                    .format, "must give the token \"\(token)\" an integer from 0 to 2147483647, found \(found)")
            }
            switch vocabulary.insert(token, id: id) {
            case .token: throw part.error(.format, "has the token \"\(token)\" twice")
            case .id:
                let other = vocabulary.token(of: id)!
                throw part.error(.format, "gives the id \(id) to \"\(other)\" and to \"\(token)\"")
            case nil: break
            }
        }
        self.vocabulary = vocabulary
        unknownID = vocabulary.id(of: unknownToken)
        place = part.place
    }

    var size: Int { vocabulary.count }
    func id(of token: String) -> Int32? { vocabulary.id(of: token) }
    func token(of id: Int32) -> String? { vocabulary.token(of: id) }

    func append(_ piece: UnsafeBufferPointer<UInt8>, to ids: inout [Int32]) throws {
        if let id = vocabulary.id(of: piece) ?? unknownID {
            ids.append(id)
        } else {
            let text = String(decoding: piece.prefix(40), as: UTF8.self)
            throw SeamError(
                .notFound,
                "\(place) has no token \"\(text)\", and none for unknown text, since \"\(unknownToken)\" is not in it")
        }
    }
}
