import Datasets
import SeamHost
import Support
import Tokenizers

/// A prompt as token ids, with the place of its answer.
package struct EncodedPrompt {
    /// The tokens that the model reads first: its encoder's, or a decoder's where it has no encoder.
    package var ids: [Int32]
    /// What the decoder of an encoder-decoder is given; empty otherwise.
    package var decoderIDs: [Int32] = []
    /// Where the answer stands, in the decoder's ids if there are any; nil: the text as a whole is the answer.
    package var answer: Int?
}

/// Turns prompts into token ids, for each architecture in its own way:
/// - decoder-only: the answer comes after the last token;
/// - encoder-only with a head: the answer stands at the mask token;
/// - encoder-only without a head: the text as a whole;
/// - encoder-decoder: with a mask in the template, T5's first sentinel is the mask and the decoder starts with it, other
///   families reconstruct the text, so that the answer stands where the mask does; without one, or a model that has none,
///   it is the first token that the decoder writes.
package struct PromptEncoder {
    /// The template, with its answer at the end where the model continues a text.
    package let template: Template
    private let tokenizer: Tokenizer
    private let info: BackboneInfo
    private let mask: (token: String, id: Int32)?
    /// The greatest number of tokens of a prompt, that of the model or of its tokenizer; `.max`: there is none.
    let limit: Int
    /// The special tokens around a text; 0 where the tokenizer cuts nothing, so that nobody asks.
    private let addedCount: Int
    private static let sentinel = "<extra_id_0>"

    /// Throws a sentence for a template that does not fit the architecture or the tokenizer.
    package init(_ template: Template, tokenizer: Tokenizer, info: BackboneInfo) throws {
        (self.tokenizer, self.info) = (tokenizer, info)
        if info.architecture == .encoderDecoder, let id = tokenizer.id(of: Self.sentinel) {
            mask = (Self.sentinel, id)
        } else {
            mask = (tokenizer.maskToken ?? info.maskToken).flatMap { id in
                tokenizer.token(of: id).map { (token: $0, id: id) }
            }
        }
        // A decoder continues: what it has no mask for it can still answer at the end.
        let continues = info.architecture == .decoderOnly || info.architecture == .encoderDecoder && mask == nil
        self.template = continues ? try template.answeringAtEnd() : template
        if info.architecture == .encoderOnly, info.hasHead != template.hasMask {
            throw SeamError(
                .invalidArgument,
                info.hasHead
                    ? "the template \"\(template.source)\" has no [MASK], where this model gives its answer"
                    : "the template \"\(template.source)\" has a [MASK], and this model has no language-model head to fill it"
            )
        }
        if self.template.hasMask, mask == nil {
            throw SeamError(.invalidArgument, "the tokenizer has no mask token, so the model cannot fill a [MASK]")
        }
        limit = min(
            info.maxSourcePositions > 0 ? info.maxSourcePositions : .max, tokenizer.truncationLength ?? .max)
        addedCount = tokenizer.truncationLength == nil ? 0 : try tokenizer.encode("").count
    }

    /// A text of which the end is left out where its prompt would be too long.
    /// - Returns: the text, and whether it was shortened.
    /// - Throws: a sentence for a template that is too long by itself, and as `Template.render`.
    package func fitted(_ input: InputText) throws -> (input: InputText, isShortened: Bool) {
        func fits(_ input: InputText) throws -> Bool {
            try tokenCount(written(try template.render(input))) <= limit
        }
        if try limit == .max || fits(input) { return (input, false) }
        let text = Array(input.text)
        func shortened(to count: Int) -> InputText { InputText(String(text[..<count]), input.textB) }
        guard try fits(shortened(to: 0)) else {
            let second = input.textB == nil ? "" : ", but with the second one,"
            throw SeamError(
                .invalidArgument,
                "the template \"\(template.source)\" without its text\(second) is longer than the \(limit) tokens that the"
                    + " model reads")
        }
        // By bisection: the number of tokens grows with the text.
        var (fitting, exceeding) = (0, text.count)
        while exceeding - fitting > 1 {
            let middle = (fitting + exceeding) / 2
            if try fits(shortened(to: middle)) { fitting = middle } else { exceeding = middle }
        }
        return (shortened(to: fitting), true)
    }

    /// The number of tokens of a prompt's text, or, where the tokenizer itself cuts a text to `limit`, a greater one.
    func tokenCount(_ text: String) throws -> Int {
        let count = try tokenizer.encode(text).count
        guard count == tokenizer.truncationLength else { return count }
        // Without special tokens it cuts to the same number. Where there are none, a text that just fits counts as cut.
        return addedCount == 0 ? count + 1 : try tokenizer.encode(text, addSpecialTokens: false).count + addedCount
    }

    /// A prompt as the tokenizer reads it.
    private func written(_ prompt: Prompt) -> String {
        guard let after = prompt.after else { return prompt.before }
        return prompt.before + (mask?.token ?? "") + after
    }

    /// The ids of a prompt, as long as it is.
    package func ids(of prompt: Prompt) throws -> EncodedPrompt {
        switch info.architecture {
        case .decoderOnly:
            var ids = try tokenizer.encode(prompt.before)
            // An end token would close the text that is to be continued.
            if ids.count > 1, let last = ids.last, tokenizer.eosToken == last || info.eosTokens.contains(last),
                ![tokenizer.bosToken, info.bosToken].contains(last)
            {
                ids.removeLast()
            }
            guard !ids.isEmpty else {
                guard let begin = info.bosToken ?? tokenizer.bosToken else {
                    throw SeamError(
                        .invalidArgument, "the prompt is empty, and the model names no bos_token_id to start from")
                }
                return EncodedPrompt(ids: [begin], answer: 0)
            }
            return EncodedPrompt(ids: ids, answer: ids.count - 1)
        case .encoderOnly where !info.hasHead:
            return EncodedPrompt(ids: try spelled(prompt))
        case .encoderOnly:
            let (ids, place) = try masked(prompt)
            return EncodedPrompt(ids: ids, answer: place)
        case .encoderDecoder:
            guard let start = info.decoderStartToken else {
                throw SeamError(.invalidArgument, "the model names no decoder_start_token_id, so it cannot answer")
            }
            guard prompt.after != nil else {
                return EncodedPrompt(ids: try spelled(prompt), decoderIDs: [start], answer: 0)
            }
            let (ids, place) = try masked(prompt)
            if let mask, mask.token == Self.sentinel {
                return EncodedPrompt(ids: ids, decoderIDs: [start, mask.id], answer: 1)
            }
            return EncodedPrompt(ids: ids, decoderIDs: [start] + ids.dropLast(), answer: place)
        case .text:
            throw SeamError(.unsupported, "the backbone reads text, not token ids")
        }
    }

    private func spelled(_ prompt: Prompt) throws -> [Int32] {
        let ids = try tokenizer.encode(prompt.before)
        guard !ids.isEmpty else {
            throw SeamError(
                .invalidArgument,
                "the prompt \(prompt.before.prefix(80).debugDescription) must have at least 1 token, found none")
        }
        return ids
    }

    private func masked(_ prompt: Prompt) throws -> (ids: [Int32], place: Int) {
        let ids = try tokenizer.encode(written(prompt))
        let places = ids.indices.filter { ids[$0] == mask?.id }
        guard places.count == 1 else {
            throw SeamError(
                .invalidArgument,
                "the prompt \(written(prompt).prefix(80).debugDescription) must hold the mask token"
                    + " \"\(mask?.token ?? "")\" once, found it \(places.count) times: the text itself may spell it")
        }
        return (ids, places[0])
    }
}
