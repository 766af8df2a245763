import SeamHost
import Support
import Tokenizers

/// Texts that a command is given, as arguments or as lines of standard input.
struct GivenTexts {
    let texts: [String]
    let isStandardInput: Bool

    /// A text as its writer finds it, counted from 1.
    func place(_ index: Int) -> String {
        isStandardInput ? "standard input, line \(index + 1)" : "text \(index + 1)"
    }

    /// The token ids of one text, 1 or more.
    static func tokens(_ text: String, _ tokenizer: Tokenizer, limit: Int?, place: String) throws -> [Int32] {
        let ids = try tokenizer.encode(text)
        guard !ids.isEmpty else {
            throw SeamError(.invalidArgument, "\(place): the source must have at least 1 token, found none")
        }
        if let limit, ids.count > limit {
            throw SeamError(
                .invalidArgument,
                "\(place): the source has \(ids.count) tokens, the backbone takes at most \(limit) positions"
            )
        }
        return ids
    }
}
