import Files
import Support

/// An entry of a run's history: what happened after which step. The log has all but the recorded values, a checkpoint
/// all but the saved backbone.
public enum RunEntry: Sendable, Equatable {
    /// A training step.
    case step(StepReport)
    /// The scores of the development set after so many steps. The accuracy is that of examples in a classification, and
    /// else that of tokens.
    case evaluation(step: Int, loss: Double, accuracy: Double, isClassification: Bool)
    /// What a method of an adapter gave.
    case recorded(RecordedValues)
    /// The backbone that the run saved at its end.
    case saved(SavedBackbone, step: Int)

    /// The entry of a file.
    /// - Parameter place: the file, for errors.
    /// - Throws: `.format` for an event that no run has, and for a member that is missing or of another kind.
    init(_ json: JSON, in place: String) throws {
        let event = try json.requireString("event", in: place)
        switch Event(rawValue: event) {
        case .step:
            self = .step(
                StepReport(
                    step: try json.requireInt("step", in: place), loss: try json.requireDouble("loss", in: place),
                    gradientNorm: try json.requireDouble("grad_norm", in: place),
                    learningRate: try json.requireDouble("learning_rate", in: place),
                    tokenCount: try json.requireInt("tokens", in: place)))
        case .evaluation:
            let isClassification = json[Self.accuracyKey(isClassification: true)] != nil
            self = .evaluation(
                step: try json.requireInt("step", in: place), loss: try json.requireDouble("loss", in: place),
                accuracy: try json.requireDouble(Self.accuracyKey(isClassification: isClassification), in: place),
                isClassification: isClassification)
        case .recorded: self = .recorded(try RecordedValues(json, in: place))
        case .saved:
            self = .saved(
                SavedBackbone(
                    fingerprint: try json.requireString("backbone.fingerprint", in: place),
                    files: try json.requireStrings("backbone.files", in: place)),
                step: try json.requireInt("step", in: place))
        case nil:
            let known = Event.allCases.map(\.rawValue).joined(separator: ", ")
            throw SeamError(.format, "\(place): \"event\" must be one of \(known), found \"\(event)\"")
        }
    }

    /// The entry as it is written.
    var json: JSON {
        switch self {
        case .step(let report):
            return Self.object(
                .step,
                [
                    (key: "step", value: .int(Int64(report.step))), (key: "loss", value: .double(report.loss)),
                    (key: "grad_norm", value: .double(report.gradientNorm)),
                    (key: "learning_rate", value: .double(report.learningRate)),
                    (key: "tokens", value: .int(Int64(report.tokenCount))),
                ])
        case .evaluation(let step, let loss, let accuracy, let isClassification):
            let key = Self.accuracyKey(isClassification: isClassification)
            return Self.object(
                .evaluation,
                [
                    (key: "step", value: .int(Int64(step))), (key: "loss", value: .double(loss)),
                    (key: key, value: .double(accuracy)),
                ])
        case .recorded(let values): return Self.object(.recorded, values.members)
        case .saved(let backbone, let step):
            return Self.object(
                .saved, [(key: "step", value: .int(Int64(step))), (key: "backbone", value: backbone.json)])
        }
    }

    /// The loss of a training step; nil for other entries.
    public var trainingLoss: Double? { if case .step(let report) = self { report.loss } else { nil } }

    /// What was recorded; nil for other entries.
    var recordedValues: RecordedValues? { if case .recorded(let values) = self { values } else { nil } }

    /// Whether this has the scores of the development set after so many steps.
    func isEvaluation(after steps: Int) -> Bool {
        if case .evaluation(steps, _, _, _) = self { true } else { false }
    }

    private enum Event: String, CaseIterable {
        case step, evaluation, recorded, saved
    }

    private static func object(_ event: Event, _ members: [(key: String, value: JSON)]) -> JSON {
        .object([(key: "event", value: .string(event.rawValue))] + members)
    }

    private static func accuracyKey(isClassification: Bool) -> String {
        isClassification ? "accuracy" : "token_accuracy"
    }
}

/// The marks of a saved model by which a later run knows it again: what its weights are, and which files it has.
public struct SavedBackbone: Sendable, Equatable {
    let fingerprint: String
    let files: [String]

    init(fingerprint: String, files: [String]) { (self.fingerprint, self.files) = (fingerprint, files) }

    /// The marks of the model in a folder. Throws where it cannot be read.
    init(in folder: String) throws {
        fingerprint = ContentHash.hex(try ModelFiles(folder).fingerprint())
        files = try FileSystem.list(folder)
    }

    var json: JSON { ["fingerprint": .string(fingerprint), "files": .array(files.map { .string($0) })] }

    /// Names of files are compared by their scalars, as JSON does.
    public static func == (left: SavedBackbone, right: SavedBackbone) -> Bool { left.json == right.json }
}
