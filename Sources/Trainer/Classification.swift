import Engine
import Files
import SeamHost
import Support

extension Session {
    /// The names of the classes, as they are saved with the adapters on decoder.output of all routes (`Adapter.task`); nil
    /// where the session has no such adapter, or one whose classes were not named here.
    /// - Throws: `.format` for other names than classes, `.incompatible` for adapters that name them differently.
    public var classLabels: [String]? {
        get throws {
            var labels: [String]?
            for adapter in allAdapters where adapter.classes > 0 {
                guard let own = try Self.classLabels(in: adapter.task) else { continue }
                guard own.count == adapter.classes else {
                    throw SeamError(
                        .format,
                        "adapter \"\(adapter.factory.id)\" has \(adapter.classes) classes and names \(own.count) of them"
                    )
                }
                guard labels == nil || labels == own else {
                    throw SeamError(
                        .incompatible,
                        "the attached adapters name their classes differently: \(labels!.joined(separator: ", ")) and \(own.joined(separator: ", "))"
                    )
                }
                labels = own
            }
            return labels
        }
    }

    /// The names in the task of an adapter; nil where it holds none, or those of a classification by prompts.
    ///
    /// Labels are the keys of an object in every task, in the order of the classes; their values are the words that
    /// answer a prompt, none where there is no prompt. A list of names is what was saved before.
    public static func classLabels(in task: JSON?) throws -> [String]? {
        guard let task, task["template"] == nil, task["templates"] == nil else { return nil }
        if let words = task["labels"]?.objectValue { return words.map(\.key) }
        guard let names = task["labels"]?.arrayValue else { return nil }
        return try names.map { name in
            guard let text = name.stringValue else {
                throw SeamError(.format, "the labels of an adapter's task must be strings, found \(name.kind)")
            }
            return text
        }
    }

    /// Names the classes, to be saved with the adapters on decoder.output of all routes.
    /// - Throws: `.invalidArgument` for other names than classes, or one that comes twice.
    public func nameClasses(_ labels: [String]) throws {
        let heads = allAdapters.filter { $0.classes > 0 }
        for classes in heads.isEmpty ? [0] : heads.map(\.classes) {
            guard labels.count == classes, labels.areDistinct else {
                throw SeamError(
                    .invalidArgument,
                    "the classes must have \(classes) names, each another, found \(labels.joined(separator: ", "))")
            }
        }
        for adapter in heads {
            adapter.task = ["schema": 1, "labels": .object(labels.map { (key: $0, value: .array([])) })]
        }
    }
}

/// Natural logarithms of the probabilities of a session's classes for each source, row-major [sources x classes].
/// - Parameter progress: called after every batch with the number of sources done; false throws `.cancelled`.
public func classLogProbabilities(
    _ session: Session, _ data: TokenPairs, batchSize: Int, progress: (Int) -> Bool = { _ in true }
) throws -> [Float] {
    try data.check(fits: session)
    let classes = try session.classes(ofRoutes: data.routes)
    var result = [Float](repeating: 0, count: data.count * classes)
    var done = 0
    for indices in try data.batchesByLength(size: batchSize) {
        let context = session.makeContext(recordsGradients: false)
        let scores = try session.classify(context, try data.batch(indices, info: session.backbone.info))
        let values = try context.contiguous(try context.logSoftmax(scores, axis: -1)).floats
        for (row, index) in indices.enumerated() {
            result.replaceSubrange(
                index * classes..<(index + 1) * classes, with: values[row * classes..<(row + 1) * classes])
        }
        done += indices.count
        guard progress(done) else { throw SeamError(.cancelled, "classifying was cancelled after \(done) texts") }
    }
    return result
}
