import Engine
import Support

/// Sources, token ids or features, and token ids of targets when there are any, padded to rectangles.
public struct Batch: Sendable {
    /// [batch, sourceLength]; empty for features.
    public let inputIDs: [Int32]
    /// [batch, sourceLength, features of a frame]; empty for token ids.
    public let inputFeatures: [Float]
    /// [batch, sourceLength], 1 for a token or a frame and 0 for padding.
    public let attentionMask: [Int32]
    public let count: Int
    /// Tokens or frames of a source.
    public let sourceLength: Int
    /// [batch, targetLength], `ignoredLabel` for padding; empty without targets. For a decoder-only backbone label i
    /// is the token after position i, so that it stands where its logits do.
    public let labels: [Int32]
    /// [batch, targetLength]; empty without targets, and without an encoder and a decoder.
    public let decoderInputIDs: [Int32]
    /// Whether these are the labels, shifted right behind the start token.
    let shiftsLabels: Bool
    /// The tokens of a target; without an encoder and a decoder, the source's length.
    public let targetLength: Int
    /// [batch, sourceLength]: which of two texts a token is of; nil: all of the first.
    public let tokenTypeIDs: [Int32]?
    /// [batch]: the class of each source, from 0, where the batch is one of a classification; else empty.
    public let classes: [Int32]
    /// [batch]: the route of each row, nil or empty for the session's default one; empty: that of all rows.
    public let routes: [String?]
    /// The description of the backbone that the batch is for.
    let info: BackboneInfo

    /// The label that counts nothing, as in PyTorch and transformers.
    public static let ignoredLabel: Int32 = -100

    /// Rectangles as a client gives them.
    /// - Parameters:
    ///   - inputIDs: nil for features.
    ///   - inputFeatures: frames of numbers, for a backbone that reads them in the place of token ids.
    ///   - attentionMask: nil for all ones.
    ///   - labels: for a backbone that is not an encoder-decoder as long as the source, of features as its hidden states;
    ///     those of a decoder-only one are the tokens at their own positions, as transformers takes them.
    ///   - decoderInputIDs: nil for the labels shifted right behind the start token, as transformers does. Padding stands
    ///     behind the tokens of a row.
    ///   - tokenTypeIDs: nil for a single text.
    ///   - classes: the class of each source, from 0; empty where there is none.
    ///   - routes: the route of each row in the session that will run it (`Session.routes`), nil for the default one;
    ///     empty: that of all rows.
    /// - Throws: for an empty batch, arrays of other sizes than said, mask values other than 0 and 1, a source without
    ///   a token, token ids in the place of features or features in theirs, `.numeric` for features that are NaN or
    ///   infinite, padding before the decoder's tokens, and for targets where the backbone names no start token.
    public init(
        count: Int, sourceLength: Int, inputIDs: [Int32]? = nil, inputFeatures: [Float]? = nil,
        attentionMask: [Int32]? = nil, targetLength: Int = 0,
        labels: [Int32] = [], decoderInputIDs: [Int32]? = nil, tokenTypeIDs: [Int32]? = nil, classes: [Int32] = [],
        routes: [String?] = [], info: BackboneInfo
    ) throws {
        guard info.architecture != .text else {
            throw SeamError(.unsupported, "the backbone reads text, not token ids")
        }
        guard count > 0, sourceLength > 0 else {
            throw SeamError(
                .invalidArgument,
                "the batch is empty: batch size \(count), source length \(sourceLength); both must be positive")
        }
        func require(_ array: [Int32], _ length: Int, _ name: String) throws {
            guard array.count == count * length else {
                throw SeamError(.shape, "\(name) must hold \(count) x \(length) values, found \(array.count)")
            }
        }
        try info.requireSource(hasTokens: inputIDs != nil, hasFeatures: inputFeatures != nil)
        if let inputIDs { try require(inputIDs, sourceLength, "input_ids") }
        let mask = attentionMask ?? [Int32](repeating: 1, count: count * sourceLength)
        try require(mask, sourceLength, "attention_mask")
        for row in 0..<count {
            var hasToken = false
            for column in 0..<sourceLength {
                let value = mask[row * sourceLength + column]
                guard value == 0 || value == 1 else {
                    throw SeamError(.invalidArgument, "attention_mask must hold 0 and 1, found \(value) in row \(row)")
                }
                hasToken = hasToken || value == 1
            }
            guard hasToken else {
                throw SeamError(.invalidArgument, "attention_mask hides every token of row \(row)")
            }
        }
        if let inputIDs { try Self.checkTokens(inputIDs, "input_ids", sourceLength, info.sourceVocabSize) }
        if let inputFeatures {
            try info.checkFeatures(inputFeatures, mask: mask, rows: count, length: sourceLength)
        }
        let positions = info.positions(ofSource: sourceLength)
        try Self.checkLength(positions, info.maxSourcePositions, "source", info.readsFeatures ? "positions" : "tokens")
        self.info = info
        self.count = count
        self.sourceLength = sourceLength
        self.inputIDs = inputIDs ?? []
        self.inputFeatures = inputFeatures ?? []
        self.attentionMask = mask
        if let tokenTypeIDs {
            try require(tokenTypeIDs, sourceLength, "token_type_ids")
            guard info.architecture == .encoderOnly, !info.readsFeatures else {
                throw SeamError(
                    .unsupported,
                    "token_type_ids are for encoder-only backbones\(info.readsFeatures ? " of token ids" : "")")
            }
        }
        self.tokenTypeIDs = tokenTypeIDs
        if !classes.isEmpty { try require(classes, 1, "classes") }
        self.classes = classes
        guard routes.isEmpty || routes.count == count else {
            throw SeamError(.shape, "routes must hold \(count) names, one for each row, found \(routes.count)")
        }
        self.routes = routes
        shiftsLabels = info.architecture == .encoderDecoder && decoderInputIDs == nil
        guard info.architecture == .encoderDecoder else {
            guard decoderInputIDs == nil else {
                throw SeamError(.unsupported, "decoder_input_ids are for encoder-decoder backbones")
            }
            guard targetLength == 0 || targetLength == positions else {
                throw SeamError(
                    .shape,
                    "without an encoder and a decoder the labels are as long as \(info.readsFeatures ? "the hidden states" : "input_ids"), \(positions), found \(targetLength)"
                )
            }
            try require(labels, targetLength, "labels")
            try Self.checkTokens(labels.filter { $0 != Self.ignoredLabel }, "labels", targetLength, info.vocabSize)
            self.targetLength = targetLength
            self.labels = info.architecture == .decoderOnly ? Self.shiftedLeft(labels, targetLength) : labels
            self.decoderInputIDs = []
            return
        }
        self.targetLength = targetLength
        self.labels = labels
        guard targetLength > 0 else {
            self.decoderInputIDs = []
            return
        }
        try Self.checkLength(targetLength, info.maxTargetPositions, "target")
        if !labels.isEmpty { try require(labels, targetLength, "labels") }
        try Self.checkTokens(labels.filter { $0 != Self.ignoredLabel }, "labels", targetLength, info.vocabSize)
        if let decoderInputIDs {
            try require(decoderInputIDs, targetLength, "decoder_input_ids")
            try Self.checkTokens(decoderInputIDs, "decoder_input_ids", targetLength, info.vocabSize)
            try Self.checkNoPaddingBefore(decoderInputIDs, targetLength, info)
            self.decoderInputIDs = decoderInputIDs
        } else {
            self.decoderInputIDs = try Self.shiftedRight(labels, count, targetLength, info)
        }
    }

    /// Ragged sequences of token ids, padded. For a decoder-only backbone a row is its source followed by its target, whose tokens
    /// alone are labels.
    /// - Parameters:
    ///   - decoderInputs: what the decoder is given, in place of targets; for encoder-decoders.
    ///   - classes: the class of each source, from 0; empty where there is none.
    ///   - routes: the route of each row, nil for the default one; empty: that of all rows.
    public init(
        sources: [[Int32]], targets: [[Int32]]? = nil, decoderInputs: [[Int32]]? = nil, classes: [Int32] = [],
        routes: [String?] = [], info: BackboneInfo
    ) throws {
        let pad = info.padToken ?? 0
        let sourceLength = sources.map(\.count).max() ?? 0
        let targetLength = (targets ?? decoderInputs)?.map(\.count).max() ?? 0
        if let targets = targets ?? decoderInputs, targets.count != sources.count {
            throw SeamError(.shape, "there are \(sources.count) sources and \(targets.count) targets")
        }
        if let row = sources.firstIndex(where: \.isEmpty) {
            throw SeamError(.invalidArgument, "source \(row) has no token")
        }
        if let row = targets?.firstIndex(where: \.isEmpty) {
            throw SeamError(.invalidArgument, "target \(row) has no token")
        }
        func padded(_ rows: [[Int32]], _ length: Int, _ filler: Int32) -> [Int32] {
            rows.flatMap { $0 + [Int32](repeating: filler, count: length - $0.count) }
        }
        if info.architecture == .decoderOnly, let targets {
            let rows = zip(sources, targets).map { $0 + $1 }
            let length = rows.map(\.count).max() ?? 0
            let labels = zip(sources, targets).map { $0.map { _ in Self.ignoredLabel } + $1 }
            try self.init(
                count: rows.count, sourceLength: length, inputIDs: padded(rows, length, pad),
                attentionMask: padded(rows.map { $0.map { _ in 1 } }, length, 0), targetLength: length,
                labels: padded(labels, length, Self.ignoredLabel), routes: routes, info: info)
            return
        }
        try self.init(
            count: sources.count, sourceLength: sourceLength, inputIDs: padded(sources, sourceLength, pad),
            attentionMask: padded(sources.map { $0.map { _ in 1 } }, sourceLength, 0), targetLength: targetLength,
            labels: targets.map { padded($0, targetLength, Self.ignoredLabel) } ?? [],
            decoderInputIDs: decoderInputs.map { padded($0, targetLength, pad) }, classes: classes, routes: routes,
            info: info)
    }

    /// Some rows of another batch, in any order.
    private init(_ other: Batch, rows: [Int]) {
        func pick<Value>(_ values: [Value], _ width: Int) -> [Value] {
            values.isEmpty ? [] : rows.flatMap { values[$0 * width..<($0 + 1) * width] }
        }
        count = rows.count
        sourceLength = other.sourceLength
        targetLength = other.targetLength
        info = other.info
        inputIDs = pick(other.inputIDs, sourceLength)
        inputFeatures = pick(other.inputFeatures, sourceLength * other.info.featureWidth)
        attentionMask = pick(other.attentionMask, sourceLength)
        tokenTypeIDs = other.tokenTypeIDs.map { pick($0, other.sourceLength) }
        labels = pick(other.labels, targetLength)
        decoderInputIDs = pick(other.decoderInputIDs, targetLength)
        shiftsLabels = other.shiftsLabels
        classes = pick(other.classes, 1)
        routes = pick(other.routes, 1)
    }

    /// Some of its rows, in the order given.
    func taking(rows: [Int]) -> Batch { Batch(self, rows: rows) }

    /// The routes that its rows take, each once, in the order of their first rows; empty: the default one.
    public var takenRoutes: [String] {
        var seen: Set<String> = []
        let names = routes.isEmpty ? [""] : routes.map { $0 ?? "" }
        return names.filter { seen.insert($0).inserted }
    }

    var hasPadding: Bool { attentionMask.contains(0) }

    /// Whether a row has padding before one of its tokens.
    var hasPaddingBeforeTokens: Bool {
        (0..<count).contains { row in
            let mask = attentionMask[row * sourceLength..<(row + 1) * sourceLength]
            return mask.lastIndex(of: 1)! - mask.startIndex + 1 != mask.reduce(0) { $0 + Int($1) }
        }
    }

    /// [batch, sourceLength]: how many tokens of its row stand before each position.
    var positionIDs: [Int32] {
        (0..<count).flatMap { row in
            var seen: Int32 = 0
            return attentionMask[row * sourceLength..<(row + 1) * sourceLength].map { value in
                defer { seen += value }
                return seen
            }
        }
    }

    /// The tokens of each row without its padding.
    package var texts: [[Int32]] {
        (0..<count).map { row in
            (row * sourceLength..<(row + 1) * sourceLength).filter { attentionMask[$0] == 1 }.map { inputIDs[$0] }
        }
    }

    /// A batch of the same texts with all padding before them, so that they end at one position.
    func paddedBefore(info: BackboneInfo) throws -> Batch {
        var (ids, mask) = (inputIDs, attentionMask)
        for (row, tokens) in texts.enumerated() {
            let range = row * sourceLength..<(row + 1) * sourceLength
            let padding = sourceLength - tokens.count
            ids.replaceSubrange(range, with: [Int32](repeating: info.padToken ?? 0, count: padding) + tokens)
            mask.replaceSubrange(range, with: [Int32](repeating: 0, count: padding) + tokens.map { _ in 1 })
        }
        return try Batch(
            count: count, sourceLength: sourceLength, inputIDs: ids, attentionMask: mask, routes: routes, info: info)
    }

    /// The number of labels that count.
    public var labelCount: Int { labels.reduce(0) { $0 + ($1 == Self.ignoredLabel ? 0 : 1) } }

    private static func shiftedRight(_ labels: [Int32], _ count: Int, _ length: Int, _ info: BackboneInfo) throws
        -> [Int32]
    {
        guard labels.count == count * length else {
            throw SeamError(.invalidArgument, "a target needs labels or decoder_input_ids")
        }
        guard let start = info.decoderStartToken else {
            throw SeamError(
                .invalidArgument, "the backbone names no decoder_start_token_id, so decoder_input_ids must be given")
        }
        let pad = info.padToken ?? 0
        var shifted = [Int32](repeating: start, count: labels.count)
        for row in 0..<count {
            for column in 1..<max(length, 1) {
                let label = labels[row * length + column - 1]
                shifted[row * length + column] = label == ignoredLabel ? pad : label
            }
        }
        return shifted
    }

    /// Every row one position to the left: the label of a position is the token after it.
    private static func shiftedLeft(_ labels: [Int32], _ length: Int) -> [Int32] {
        labels.indices.map { ($0 + 1) % length == 0 ? ignoredLabel : labels[$0 + 1] }
    }

    private static func checkTokens(_ ids: [Int32], _ name: String, _ length: Int, _ vocabSize: Int) throws {
        if let position = ids.firstIndex(where: { $0 < 0 || Int($0) >= vocabSize }) {
            throw SeamError(
                .invalidArgument,
                "\(name): token id \(ids[position]) in row \(position / max(length, 1)) is outside the vocabulary of \(vocabSize) (0 ... \(vocabSize - 1))"
            )
        }
    }

    /// Nothing hides a decoder's tokens from those behind them, so padding that stands before a row's would be read. Where
    /// the padding is the start token, too, or none is named, it is taken for one that the model has written.
    private static func checkNoPaddingBefore(_ ids: [Int32], _ length: Int, _ info: BackboneInfo) throws {
        guard let pad = info.padToken, let begin = info.decoderStartToken, begin != pad else { return }
        for start in stride(from: 0, to: ids.count, by: max(length, 1)) {
            let row = ids[start..<start + length]
            guard let first = row.firstIndex(where: { $0 != pad }), first > start else { continue }
            throw SeamError(
                .unsupported,
                "decoder_input_ids must have padding behind the tokens of a row, found \(first - start) before those of row \(start / length)"
            )
        }
    }

    private static func checkLength(_ length: Int, _ limit: Int, _ what: String, _ unit: String = "tokens") throws {
        guard limit == 0 || length <= limit else {
            throw SeamError(
                .invalidArgument, "the \(what) has \(length) \(unit), the backbone takes at most \(limit) positions")
        }
    }
}
