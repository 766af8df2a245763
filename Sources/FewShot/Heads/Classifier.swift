import Datasets
import Files
import SeamHost
import Support

/// A classification: a task, the model that is asked, and adapters on decoder.output that read its answers. Without
/// adapters the scores are the model's own, of several prompts their mean.
///
/// One thread, as the session or backbone of its features.
public final class Classifier {
    public let extractor: FeatureExtractor
    /// The adapters in the order in which they run.
    public private(set) var adapters: [Adapter] = []
    public var task: ClassificationTask { extractor.task }

    /// A classification without adapters yet.
    public init(extractor: FeatureExtractor) { self.extractor = extractor }

    /// Adds an adapter behind those that are there.
    /// - Throws: `.incompatible` for one with another number of classes or of prompts: the first one reads those of the
    ///   task, one behind it what leaves the first as the answer to one; `.alreadyExists` for one that is there.
    public func attach(_ adapter: Adapter) throws {
        guard adapter.classes == task.classes else {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for \(adapter.classes) classes, the task has \(task.classes)"
            )
        }
        let prompts = adapters.isEmpty ? task.templates.count : 1
        guard adapter.prompts == prompts else {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for \(adapter.prompts) prompt\(adapter.prompts == 1 ? "" : "s") about each text, \(adapters.isEmpty ? "the task has" : "behind another adapter there is") \(prompts)"
            )
        }
        guard !adapters.contains(where: { $0 === adapter }) else {
            throw SeamError(.alreadyExists, "adapter \"\(adapter.factory.id)\" is already attached")
        }
        adapters.append(adapter)
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
        if let other = try tasks.firstIndex(where: {
            try TextKey($0.json.serialized()) != TextKey(first.json.serialized())
        }) {
            throw SeamError(
                .incompatible,
                "the adapters in \"\(paths[0])\" and \"\(paths[other])\" were trained for different tasks")
        }
        return first
    }

    /// Trains the adapters on labelled texts.
    /// - Parameters:
    ///   - labels: the class of each text, from 0.
    ///   - asked: the progress of asking the model, as `FeatureExtractor.features` tells it; false stops.
    ///   - trained: that of the training behind it, as `FewShot.fit` tells it; false stops.
    /// - Returns: the loss of each epoch, before its update.
    /// - Throws: as `FeatureExtractor.features` and `FewShot.fit`.
    public func fit(
        _ inputs: [InputText], labels: [Int], options: HeadTrainingOptions = HeadTrainingOptions(),
        asked: (Int, Int) -> Bool = { _, _ in true }, trained: (Int, Double?) -> Bool = { _, _ in true }
    ) throws -> [Double] {
        let labels = labels.map { Int32(clamping: $0) }
        // Before the model is asked.
        try checkLabels(labels, count: inputs.count, classes: task.classes)
        let features = try extractor.features(of: inputs, progress: asked)
        let losses = try FewShot.fit(
            adapters: adapters, scores: features.scores, hidden: features.hidden, labels: labels,
            emptyScores: try extractor.emptyFeatures(progress: asked).scores, options: options, progress: trained)
        for adapter in adapters { adapter.task = task.json }
        return losses
    }

    /// The scores of every class for each text, row-major [texts x classes]; the largest is the answer.
    /// - Parameter progress: as that of `FeatureExtractor.features`.
    public func scores(_ inputs: [InputText], progress: (Int, Int) -> Bool = { _, _ in true }) throws -> [Float] {
        let features = try extractor.features(of: inputs, progress: progress)
        if adapters.isEmpty { return features.averaged.scores }
        return try classScores(adapters: adapters, scores: features.scores, hidden: features.hidden)
    }
}
