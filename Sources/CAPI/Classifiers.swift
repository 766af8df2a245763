import CSeam
import Datasets
import FewShot
import Files
import SeamHost
import Support
import Tokenizers

final class ClassifierHandle {
    let owner: BackboneHandle
    let classifier: Classifier

    init(_ classifier: Classifier, owner: BackboneHandle) { (self.classifier, self.owner) = (classifier, owner) }

    /// What tells the caller of the texts that the model is asked about.
    func asking(_ progress: Progress) -> (Int, Int) -> Bool {
        let activity = owner.backbone.info.architecture == .text ? Activity.query : .classify
        return { progress.report(activity, done: $0, total: $1) }
    }
}

@c @implementation
public func seam_classifier_create(
    _ backbone: OpaquePointer?, _ tokenizer: OpaquePointer?, _ taskJSON: UnsafePointer<CChar>?,
    _ cachePath: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(backbone, "backbone", as: BackboneHandle.self)
        let out = try required(out, "out")
        try owner.backbone.requireComputation()
        let name = "argument task_json"
        let task = try ClassificationTask(try JSON.parse(try text(taskJSON, "task_json"), name: name), name: name)
        let sources = try answerSources(
            session: Session(backbone: owner.backbone),
            tokenizer: try tokenizer.map { try object($0, "tokenizer", as: Tokenizer.self) }, task: task)
        let extractor = try FeatureExtractor(
            task: task, sources: sources, cacheFolder: try optionalText(cachePath, "cache_path"))
        out.pointee = handOver(ClassifierHandle(Classifier(extractor: extractor), owner: owner))
    }
}

@c @implementation
public func seam_classifier_release(_ classifier: OpaquePointer?) { release(classifier, ClassifierHandle.self) }

@c @implementation
public func seam_classifier_attach(_ classifier: OpaquePointer?, _ adapter: OpaquePointer?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(classifier, "classifier", as: ClassifierHandle.self)
        try handle.classifier.attach(try object(adapter, "adapter", as: AdapterHandle.self).adapter)
    }
}

@c @implementation
public func seam_classifier_fit(
    _ classifier: OpaquePointer?, _ texts: UnsafePointer<UnsafePointer<CChar>?>?,
    _ textsB: UnsafePointer<UnsafePointer<CChar>?>?, _ labels: UnsafePointer<Int32>?, _ count: Int,
    _ options: UnsafePointer<seam_fit_options>?, _ progress: seam_progress_callback?,
    _ user: UnsafeMutableRawPointer?, _ losses: UnsafeMutablePointer<Double>?, _ lossCapacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(classifier, "classifier", as: ClassifierHandle.self)
        let inputs = try inputs(texts, textsB, count)
        let labels = UnsafeBufferPointer(start: try required(labels, "labels"), count: inputs.count).map(Int.init)
        let options = try headTrainingOptions(options)
        try requireRoom(losses == nil ? nil : lossCapacity, forLossesOf: options)
        let progress = Progress(progress, user)
        let found = try handle.classifier.fit(
            inputs, labels: labels, options: options, asked: handle.asking(progress),
            trained: progress.fitting(options))
        losses?.update(from: found, count: found.count)
    }
}

@c @implementation
public func seam_classifier_predict(
    _ classifier: OpaquePointer?, _ texts: UnsafePointer<UnsafePointer<CChar>?>?,
    _ textsB: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ progress: seam_progress_callback?,
    _ user: UnsafeMutableRawPointer?, _ scores: UnsafeMutablePointer<Float>?, _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(classifier, "classifier", as: ClassifierHandle.self)
        let out = try required(scores, "scores")
        let inputs = try inputs(texts, textsB, count)
        let classes = handle.classifier.task.classes
        try requireRoom(
            capacity, "capacity", for: inputs.count * classes, "\(classes) scores of each of \(inputs.count) texts")
        let found = try handle.classifier.scores(inputs, progress: handle.asking(Progress(progress, user)))
        out.update(from: found, count: found.count)
    }
}

@c @implementation
public func seam_classifier_query_count(_ classifier: OpaquePointer?) -> Int64 {
    let handle = try? object(classifier, "classifier", as: ClassifierHandle.self)
    return handle.map { Int64($0.classifier.extractor.queryCount) } ?? -1
}

@c @implementation
public func seam_adapter_task(
    _ adapter: OpaquePointer?, _ json: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let out = try required(json, "task_json")
        guard let task = adapter.task else {
            throw SeamError(.notFound, "adapter \"\(adapter.factory.id)\" holds no classification task")
        }
        out.pointee = copyCString(try task.serialized())
    }
}

@c @implementation
public func seam_adapter_set_task(_ adapter: OpaquePointer?, _ json: UnsafePointer<CChar>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let task = try optionalText(json, "task_json").map { try JSON.parse($0, name: "argument task_json") }
        guard task == nil || task?.objectValue != nil else {
            throw SeamError(.invalidArgument, "argument task_json must be an object, found \(task!.kind)")
        }
        adapter.task = task
    }
}

private func inputs(
    _ first: UnsafePointer<UnsafePointer<CChar>?>?, _ second: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int
) throws -> [InputText] {
    guard count != 0 else { throw SeamError(.invalidArgument, "argument count must be positive, found 0") }
    let first = try texts(first, count, "texts")
    guard second != nil else { return first.map { InputText($0) } }
    return zip(first, try texts(second, count, "texts_b")).map { InputText($0, $1) }
}
