import Files
import Support

/// The `post_processor` of a `tokenizer.json`: puts special tokens around the ids of a text.
protocol PostProcessor: Sendable {
    /// The number of ids that it adds.
    var addedCount: Int { get }
    func process(_ ids: [Int32], addSpecialTokens: Bool) -> [Int32]
}

func postProcessor(_ part: TokenizerPart) throws -> any PostProcessor {
    try part.typed([
        "TemplateProcessing": TemplateProcessing.init,
        "BertProcessing": PairProcessing.bert,
        "RobertaProcessing": PairProcessing.roberta,
        "ByteLevel": offsetsOnly,
        "Sequence": PostProcessorSequence.init,
    ])
}

struct PostProcessorSequence: PostProcessor {
    private let steps: [any PostProcessor]

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "processors")
        steps = try part.parts("processors").map(postProcessor)
    }

    var addedCount: Int { steps.reduce(0) { $0 + $1.addedCount } }

    func process(_ ids: [Int32], addSpecialTokens: Bool) -> [Int32] {
        steps.reduce(ids) { $1.process($0, addSpecialTokens: addSpecialTokens) }
    }
}

/// The processor of byte-level tokenizers, which changes offsets only, and these are not given here.
private func offsetsOnly(_ part: TokenizerPart) throws -> TemplateProcessing {
    try part.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
    return TemplateProcessing(before: [], after: [])
}

/// One token in front and one behind: `cls`, text, `sep`.
private enum PairProcessing {
    static func bert(_ part: TokenizerPart) throws -> TemplateProcessing {
        try part.allow("type", "sep", "cls")
        return TemplateProcessing(before: [try id(part, "cls")], after: [try id(part, "sep")])
    }

    static func roberta(_ part: TokenizerPart) throws -> TemplateProcessing {
        try part.allow("type", "sep", "cls", "trim_offsets", "add_prefix_space")
        return TemplateProcessing(before: [try id(part, "cls")], after: [try id(part, "sep")])
    }

    private static func id(_ part: TokenizerPart, _ key: String) throws -> Int32 {
        guard let pair = part.member(key)?.arrayValue, pair.count == 2, pair[0].stringValue != nil,
            let id = pair[1].tokenID
        else {
            throw part.error(.format, "must have a token and its id as \"\(key)\"")
        }
        return id
    }
}

/// Follows the template "single"; "pair", for two texts at once, is not used.
struct TemplateProcessing: PostProcessor {
    private enum Element {
        case text
        case special([Int32])
    }
    private let template: [Element]

    init(before: [Int32], after: [Int32]) { template = [.special(before), .text, .special(after)] }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "single", "pair", "special_tokens")
        let specials = try part.requirePart("special_tokens")
        template = try part.parts("single").map { element in
            try element.allow("Sequence", "SpecialToken")
            if let sequence = try element.part("Sequence") {
                try sequence.allow("id", "type_id")
                return try sequence.choice("id", ["A": Element.text])
            }
            let special = try element.requirePart("SpecialToken")
            try special.allow("id", "type_id")
            return .special(try Self.ids(of: special.string("id"), in: specials))
        }
    }

    private static func ids(of name: String, in specials: TokenizerPart) throws -> [Int32] {
        guard let token = try specials.part(name) else {
            throw specials.error(.format, "has no \"\(name)\", which \"single\" holds")
        }
        try token.allow("id", "ids", "tokens")
        guard let values = token.member("ids")?.arrayValue else {
            throw token.error(.format, "must have an array of integers as \"ids\"")
        }
        return try values.map {
            guard let id = $0.tokenID else {
                throw token.error(.format, "must have integers from 0 to 2147483647 as \"ids\", found \($0.kind)")
            }
            return id
        }
    }

    var addedCount: Int {
        template.reduce(0) { count, element in
            if case .special(let ids) = element { count + ids.count } else { count }
        }
    }

    func process(_ ids: [Int32], addSpecialTokens: Bool) -> [Int32] {
        var result: [Int32] = []
        result.reserveCapacity(ids.count + addedCount)
        for element in template {
            switch element {
            case .text: result += ids
            case .special(let special): if addSpecialTokens { result += special }
            }
        }
        return result
    }
}
