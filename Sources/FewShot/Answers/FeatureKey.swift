import Files
import Support

/// All that decides about the features of a text besides the text itself. Features are found again only under an equal
/// key.
public struct FeatureKey: Sendable {
    /// Which model it was, with what else changes its answers (the greatest length, the revision): a hash of its
    /// weights, or a server's address and the model's name.
    public var model: String
    /// The prompt.
    public var template: String
    /// The label words in order, one for each column of scores; empty when only the hidden states are of interest.
    public var words: [String]
    /// How words of several tokens are scored.
    public var multiToken: MultiToken
    /// The adapters that were attached to the model, with their weights' hashes; "" for none.
    public var adapters: String

    /// A key of these parts.
    public init(model: String, template: String, words: [String], multiToken: MultiToken, adapters: String = "") {
        self.model = model
        self.template = template
        self.words = words
        self.multiToken = multiToken
        self.adapters = adapters
    }

    /// All parts as one line of JSON, equal for equal keys only.
    var text: String {
        let json: JSON = [
            "model": .string(model), "template": .string(template), "words": .array(words.map { .string($0) }),
            "multi_token": .string(multiToken.rawValue), "adapters": .string(adapters),
        ]
        // Only numbers that are not finite cannot be written, and there are none.
        return (try? json.serialized()) ?? ""
    }

    /// The name of the key's folder in a cache.
    package var folderName: String { ContentHash.hex(ContentHash.of(text)) }
}
