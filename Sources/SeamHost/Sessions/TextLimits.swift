import Support

/// Most tokens of a text that a session reads, special tokens included; nil: no limit.
public struct TextLimits: Sendable, Equatable {
    /// The most tokens of a source; with a decoder-only backbone of source and target together.
    public let source: Int?
    public let target: Int?
}

extension Session {
    /// What the backbone's positions leave to texts beside the prefixes and prompts of the default route, where these take
    /// positions.
    public var textLimits: TextLimits { textLimits(of: nil) }

    /// What the backbone's positions leave to the texts of a route.
    public func textLimits(of route: String?) -> TextLimits {
        let info = backbone.info
        let (lengths, vectors) = (prefixLength(of: route), promptLength(of: route))
        func limit(_ positions: Int, _ stack: Stack) -> Int? {
            guard positions > 0 else { return nil }
            return positions - positionsTaken(in: stack, byPrefix: lengths) - vectors[Int(stack.rawValue)]
        }
        let isDecoder = info.architecture == .decoderOnly
        return TextLimits(
            source: limit(info.maxSourcePositions, isDecoder ? .decoder : .encoder),
            target: limit(info.maxTargetPositions, info.architecture == .encoderOnly ? .encoder : .decoder))
    }

    /// Positions that prefixes of these lengths, by `PrefixAttention`, take from the texts of a stack.
    private func positionsTaken(in stack: Stack, byPrefix lengths: [Int]) -> Int {
        let attention = stack == .encoder ? PrefixAttention.encoder : .decoder
        return backbone.info.maxPrefixLength[attention.rawValue] > 0 ? lengths[attention.rawValue] : 0
    }

    /// Throws `.invalidArgument` where vectors before a text, by `Stack`, leave no position to it.
    func checkPositions(prefix: [Int], prompt: [Int]) throws {
        let info = backbone.info
        for stack in Stack.allCases {
            let length = prompt[Int(stack.rawValue)]
            let positions = stack == .encoder ? info.maxSourcePositions : info.maxTargetPositions
            let room = positions - positionsTaken(in: stack, byPrefix: prefix) - 1
            guard length == 0 || positions == 0 || length <= room else {
                throw SeamError(
                    .invalidArgument,
                    "the adapters put \(length) vectors before the text of the \(stack.name), which take its positions: this backbone leaves room for at most \(max(room, 0))"
                )
            }
        }
    }
}
