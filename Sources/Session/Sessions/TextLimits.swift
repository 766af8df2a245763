import Support

/// Most tokens of a text that a session reads, special tokens included; nil: no limit.
public struct TextLimits: Sendable, Equatable {
    /// Of a source; with a decoder-only backbone of source and target together.
    public let source: Int?
    public let target: Int?
}

extension Session {
    /// What the backbone's positions leave to texts beside the prefixes of the default route, where these take positions.
    public var textLimits: TextLimits { textLimits(of: nil) }

    /// What the backbone's positions leave to the texts of a route.
    public func textLimits(of route: String?) -> TextLimits {
        let info = backbone.info
        let lengths = prefixLength(of: route)
        func limit(_ positions: Int, _ attention: PrefixAttention) -> Int? {
            guard positions > 0 else { return nil }
            let taken = info.maxPrefixLength[attention.rawValue] > 0 ? lengths[attention.rawValue] : 0
            return positions - taken
        }
        let isDecoder = info.architecture == .decoderOnly
        return TextLimits(
            source: limit(info.maxSourcePositions, isDecoder ? .decoder : .encoder),
            target: limit(info.maxTargetPositions, info.architecture == .encoderOnly ? .encoder : .decoder))
    }
}
