import Files
import Session
import Support

/// A trained classification: a task, adapters on decoder.output, and the model that they read.
///
/// One thread, as the session or backbone of its features.
public final class Classifier {
    public let extractor: FeatureExtractor
    public let adapters: [Adapter]
    public var task: ClassificationTask { extractor.task }

    /// Of adapters that were made for the task's classes; they run in the given order.
    /// - Throws: `.incompatible` for an adapter with another number of classes.
    public init(extractor: FeatureExtractor, adapters: [Adapter]) throws {
        for adapter in adapters where adapter.classes != extractor.task.classes {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for \(adapter.classes) classes, the task has \(extractor.task.classes)")
        }
        (self.extractor, self.adapters) = (extractor, adapters)
    }

    /// The task that was saved with adapters.
    /// - Parameter paths: their folders, one or more.
    /// - Throws: `.notFound` for an adapter that was not trained by a classification, `.incompatible` for two that were
    ///   trained for different ones.
    public static func task(ofAdaptersAt paths: [String]) throws -> ClassificationTask {
        let tasks = try paths.map { path in
            guard let task = try AdapterFolder.readConfig(path).task else {
                throw SeamError(.notFound, "adapter folder \"\(path)\": it holds no classification task")
            }
            return try ClassificationTask(task, name: FileSystem.join(path, AdapterFolder.configName))
        }
        guard let first = tasks.first else { throw SeamError(.invalidArgument, "there is no adapter") }
        if let other = try tasks.firstIndex(where: { try $0.json.serialized() != first.json.serialized() }) {
            throw SeamError(
                .incompatible,
                "the adapters in \"\(paths[0])\" and \"\(paths[other])\" were trained for different tasks")
        }
        return first
    }

    /// Trains the adapters on labelled texts.
    /// - Parameter labels: the class of each text, from 0.
    /// - Returns: the loss of each epoch, before its update.
    /// - Throws: as `FeatureExtractor.features` and `FewShot.fit`.
    public func fit(
        _ inputs: [InputText], labels: [Int], options: HeadTrainingOptions = HeadTrainingOptions(),
        progress: (Int, Int) -> Bool = { _, _ in true }
    ) throws -> [Double] {
        let features = try extractor.features(of: inputs, progress: progress)
        let losses = try FewShot.fit(
            adapters: adapters, scores: features.scores, hidden: features.hidden, labels: labels.map { Int32($0) },
            emptyScores: try extractor.emptyFeatures().scores, options: options)
        for adapter in adapters { adapter.task = task.json }
        return losses
    }

    /// The scores of every class for each text, row-major [texts x classes]; the largest is the answer.
    public func scores(_ inputs: [InputText], progress: (Int, Int) -> Bool = { _, _ in true }) throws -> [Float] {
        let features = try extractor.features(of: inputs, progress: progress)
        return try classScores(adapters: adapters, scores: features.scores, hidden: features.hidden)
    }
}
