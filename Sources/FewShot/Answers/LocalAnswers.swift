import Datasets
import Engine
import Files
import SeamHost
import Support
import Tokenizers

/// Answers of a model that runs in this process.
///
/// Prompts are asked in batches of similar length, cut so that a batch has a bounded number of tokens. A long beginning that
/// all of them share, such as demonstrations, is run once a batch.
public final class LocalAnswers: AnswerSource {
    public let identity: String?
    public var width: Int { session.backbone.info.dModel }
    public var hasScores: Bool { session.backbone.info.hasHead }
    public private(set) var queryCount = 0
    /// How many texts were shortened because their prompts were too long for the model.
    public private(set) var shortenedCount = 0

    /// How it reads prompts.
    let encoder: PromptEncoder
    private let session: Session
    private let words: LabelTokens
    /// Tokens of a batch, padding included: enough for the matrix products to run at full speed.
    private static let batchTokens = 4096
    /// The same for rows behind a shared beginning, which cost its memory but not its time.
    private static let sharedBatchTokens = 8192
    /// A shared beginning of fewer tokens is not worth a pass of its own.
    private static let leastShared = 64

    /// - Parameter task: of one prompt.
    /// - Throws: as `LabelTokens`; for a backbone without a head the words are not looked up.
    public init(session: Session, tokenizer: Tokenizer, task: ClassificationTask) throws {
        self.session = session
        let info = session.backbone.info
        encoder = try PromptEncoder(task.template, tokenizer: tokenizer, info: info)
        words =
            try info.hasHead
            ? LabelTokens(
                task.verbalizer, prefix: encoder.template.wordPrefix, multiToken: task.multiToken, tokenizer: tokenizer)
            : LabelTokens()
        identity = try Self.identity(of: session, tokenizer)
    }

    /// The weights' content, all settings beside them, the tokenizer's among these, and the options that they are run
    /// with; nil where no name tells the model apart from another state of itself.
    private static func identity(of session: Session, _ tokenizer: Tokenizer) throws -> String? {
        let backbone = session.backbone
        guard !backbone.isTrained, session.adapters.isEmpty, let model = backbone.model else { return nil }
        var settings = ContentHash()
        // A GGUF file's settings are its own.
        settings.update(try model.files.config.serialized())
        if let folder = model.files.folder {
            for name in [FileSystem.baseName(tokenizer.path), "tokenizer_config.json", "special_tokens_map.json"] {
                let path = FileSystem.join(folder, name)
                settings.update(FileSystem.exists(path) ? ContentHash.hex(try ContentHash.ofFile(path)) : "")
            }
        }
        let options = try backbone.options.json.serialized()
        return "\(backbone.factory?.id ?? "") \(ContentHash.hex(model.files.fingerprint())) \(settings.hex) \(options)"
    }

    public func answer(
        _ inputs: [InputText], shouldContinue: () -> Bool, deliver: ([Int], AnswerFeatures) throws -> Void
    ) throws {
        let prompts = try inputs.map { try encoder.template.render(try fitted($0)) }
        try answer(prompts: prompts, shouldContinue: shouldContinue, deliver: deliver)
    }

    public func check(_ input: InputText) throws {
        _ = try encoder.ids(of: try encoder.template.render(try encoder.fitted(input).0))
    }

    /// A text of which the end is left out where its prompt would be too long, and counted then.
    func fitted(_ input: InputText) throws -> InputText {
        let (fitted, isShortened) = try encoder.fitted(input)
        if isShortened { shortenedCount += 1 }
        return fitted
    }

    /// The same for prompts that are rendered already.
    func answer(
        prompts: [Prompt], shouldContinue: () -> Bool, deliver: ([Int], AnswerFeatures) throws -> Void
    ) throws {
        let prompts = try prompts.map(encoder.ids)
        let shared = session.sharesPrefixes ? Self.sharedCount(prompts) : 0
        for rows in batches(prompts, most: shared > 0 ? Self.sharedBatchTokens : Self.batchTokens) {
            guard shouldContinue() else { throw SeamError(.cancelled, "asking the model was cancelled") }
            let features = try answer(rows.map { prompts[$0] }, shared: shared)
            queryCount += rows.count
            try deliver(rows, features)
        }
    }

    /// Rows by length, longest first, so that the memory a batch needs only falls.
    private func batches(_ prompts: [EncodedPrompt], most: Int) -> [[Int]] {
        let order = prompts.indices.sorted { one, other in
            let (first, second) = (prompts[one], prompts[other])
            return (first.ids.count, first.decoderIDs.count, other) > (second.ids.count, second.decoderIDs.count, one)
        }
        var batches: [[Int]] = []
        var (size, longest) = (0, 0)
        for row in order {
            if size == 0 || (size + 1) * longest > most {
                batches.append([])
                (size, longest) = (0, prompts[row].ids.count)
            }
            batches[batches.count - 1].append(row)
            size += 1
        }
        return batches
    }

    /// How many tokens all prompts begin with; 0 for few.
    private static func sharedCount(_ prompts: [EncodedPrompt]) -> Int {
        guard prompts.count > 1, let first = prompts.first?.ids, let shortest = prompts.map(\.ids.count).min() else {
            return 0
        }
        var count = 0
        // At least one token is left to every prompt, where its answer stands.
        while count < shortest - 1, prompts.allSatisfy({ $0.ids[count] == first[count] }) { count += 1 }
        return count >= leastShared ? count : 0
    }

    private func answer(_ prompts: [EncodedPrompt], shared: Int) throws -> AnswerFeatures {
        let context = session.makeContext(recordsGradients: false)
        let info = session.backbone.info
        let places = prompts.compactMap(\.answer)
        let answers: Answers
        if shared > 0 {
            let rests = prompts.map { EncodedPrompt(ids: Array($0.ids[shared...])) }
            answers = try session.answers(
                context, after: Array(prompts[0].ids[..<shared]), try Self.batch(rests, info: info),
                at: places.map { $0 - shared })
        } else {
            answers = try session.answers(
                context, try Self.batch(prompts, info: info), at: places.isEmpty ? nil : places)
        }
        return AnswerFeatures(
            scores: try answers.logits.map { try wordScores(context, $0) } ?? [],
            hidden: try context.contiguous(answers.hidden).floats)
    }

    /// The mean score of each word's tokens, [rows x words].
    private func wordScores(_ context: Context, _ logits: Tensor) throws -> [Float] {
        let tokens = words.ids.flatMap { $0 }
        let index = try context.constant(tokens, [tokens.count])
        let picked = try context.contiguous(try context.indexSelect(logits, axis: 1, index: index)).floats
        var scores: [Float] = []
        scores.reserveCapacity(logits.shape[0] * words.ids.count)
        for row in 0..<logits.shape[0] {
            var column = row * tokens.count
            for ids in words.ids {
                scores.append(picked[column..<column + ids.count].reduce(0, +) / Float(ids.count))
                column += ids.count
            }
        }
        return scores
    }

    private static func batch(_ prompts: [EncodedPrompt], info: BackboneInfo) throws -> Batch {
        try Batch(
            sources: prompts.map(\.ids),
            decoderInputs: info.architecture == .encoderDecoder ? prompts.map(\.decoderIDs) : nil, info: info)
    }
}
