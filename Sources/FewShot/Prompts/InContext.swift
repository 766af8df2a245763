import Datasets
import Support

/// A prompt with solved examples in front of the question (Brown et al. 2020), for models that continue a text.
public struct InContextPrompt: Sendable, Equatable {
    /// The examples and the query; the answer stands at its end.
    public let prompt: Prompt
    /// How many of the demonstrations it holds: the last ones of those given.
    public let kept: Int

    /// Builds the prompt: each demonstration is the template with its label's word as the answer; between them and
    /// before the query is an empty line. Demonstrations are left out from the front until the rest fits.
    ///
    /// - Parameters:
    ///   - demonstrations: texts and the words that answer them, the nearest to the query last.
    ///   - query: the text to classify.
    ///   - template: `answeringAtEnd`, that is without text after `[MASK]`.
    ///   - limit: the greatest number of tokens of the prompt; leave room for the answer.
    ///   - countTokens: the tokens of a text; assumed not to fall when a demonstration is added.
    /// - Throws: `SeamError`: as `Template.answeringAtEnd` and `Template.render`, `.invalidArgument` when the query
    ///   alone does not fit, and what `countTokens` throws.
    public init(
        demonstrations: [(input: InputText, word: String)], query: InputText, template: Template, limit: Int,
        countTokens: (String) throws -> Int
    ) throws {
        let template = try template.answeringAtEnd()
        let question = try template.render(query)
        let examples = try demonstrations.map { try template.render($0.input).answered(with: $0.word) }
        func text(_ kept: Int) -> String {
            (examples.suffix(kept) + [question.before]).joined(separator: "\n\n")
        }
        let alone = try countTokens(text(0))
        guard alone <= limit else {
            throw SeamError(
                .invalidArgument,
                "the prompt for \"\(query.text.prefix(40))\" has \(alone) tokens without demonstrations, the limit is"
                    + " \(limit)")
        }
        // All of them fit more often than not; else the greatest number that fits, by halving.
        var fits = examples.count
        if try !examples.isEmpty && countTokens(text(fits)) > limit {
            var tooMany = fits
            fits = 0
            while fits + 1 < tooMany {
                let middle = (fits + tooMany) / 2
                if try countTokens(text(middle)) <= limit { fits = middle } else { tooMany = middle }
            }
        }
        kept = fits
        prompt = Prompt(before: text(fits), after: nil, wordPrefix: question.wordPrefix)
    }
}
