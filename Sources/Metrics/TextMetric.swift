/// What generated texts are compared with their references by, by the name that the command line and reports give it.
public enum TextMetric: String, Sendable, CaseIterable {
    case exactMatch = "exact-match"
    /// sacrebleu's defaults.
    case bleu
    /// mteval-v13a's, as in the E2E challenge: lower case and no smoothing.
    case bleuMteval = "bleu-mteval"
    case nist
    case chrf
    /// The rouge-score package's: of several references the one with the best F-measure.
    case rougeL = "rouge-l"
    /// pycocoevalcap's: of several references the best precision and the best recall.
    case rougeLCoco = "rouge-l-coco"
    case cider
    /// jiwer's word error rate: lower is better.
    case wer
    /// The same where cases and punctuation are no matter, as Whisper's error rates are given.
    case werNormalized = "wer-normalized"
    /// jiwer's character error rate: lower is better.
    case cer

    /// The metrics of the E2E challenge but METEOR, which needs WordNet.
    public static let e2e: [TextMetric] = [.bleuMteval, .nist, .rougeLCoco, .cider]

    /// The score of a corpus: 0...100, but NIST and the error rates without an upper limit and CIDEr 0...10.
    ///
    /// - Parameters:
    ///   - hypotheses: generated texts, 1 or more.
    ///   - references: for each hypothesis its references, 1 or more.
    /// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
    ///
    /// Pure; safe from any thread.
    public func value(hypotheses: [String], references: [[String]]) throws -> Double {
        switch self {
        case .exactMatch: 100 * (try Metrics.exactMatch(hypotheses: hypotheses, references: references))
        case .bleu: try corpusBLEU(hypotheses: hypotheses, references: references).score
        case .bleuMteval:
            try corpusBLEU(hypotheses: hypotheses, references: references, smoothing: .none, ignoresCase: true).score
        case .nist: try corpusNIST(hypotheses: hypotheses, references: references)
        case .chrf: try corpusChrF(hypotheses: hypotheses, references: references)
        case .rougeL: 100 * (try meanRougeL(hypotheses: hypotheses, references: references)).fMeasure
        case .rougeLCoco: 100 * (try captionRougeL(hypotheses: hypotheses, references: references))
        case .cider: try corpusCIDEr(hypotheses: hypotheses, references: references)
        case .wer: 100 * (try wordErrorRate(hypotheses: hypotheses, references: references))
        case .werNormalized:
            100
                * (try wordErrorRate(
                    hypotheses: try hypotheses.map(spokenText),
                    references: try references.map { try $0.map(spokenText) }))
        case .cer: 100 * (try characterErrorRate(hypotheses: hypotheses, references: references))
        }
    }

    /// The scores of several metrics in the order given, each under its name with underscores: `exact_match`.
    /// Parameters and errors as of `value`.
    public static func compute(
        _ metrics: [TextMetric], hypotheses: [String], references: [[String]]
    ) throws -> [(name: String, value: Double)] {
        try metrics.map { metric in
            (
                metric.rawValue.replacing("-", with: "_"),
                try metric.value(hypotheses: hypotheses, references: references)
            )
        }
    }
}
