import CSeam
import Files
import FewShot
import Session
import Support
import Text

final class ClassifierHandle {
    let owner: BackboneHandle
    let classifier: Classifier

    init(_ classifier: Classifier, owner: BackboneHandle) { (self.classifier, self.owner) = (classifier, owner) }
}

@c @implementation
public func seam_classifier_create(
    _ backbone: OpaquePointer?, _ tokenizer: OpaquePointer?, _ taskJSON: UnsafePointer<CChar>?,
    _ cachePath: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(backbone, "backbone", as: BackboneHandle.self)
        let out = try required(out, "out")
        let name = "argument task_json"
        let task = try ClassificationTask(try JSON.parse(try text(taskJSON, "task_json"), name: name), name: name)
        let source = try answerSource(
            session: Session(backbone: owner.backbone),
            tokenizer: try tokenizer.map { try object($0, "tokenizer", as: Tokenizer.self) }, task: task)
        let extractor = try FeatureExtractor(
            task: task, source: source, cacheFolder: try optionalText(cachePath, "cache_path"))
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
    _ options: UnsafePointer<seam_fit_options>?, _ losses: UnsafeMutablePointer<Double>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let classifier = try object(classifier, "classifier", as: ClassifierHandle.self).classifier
        let inputs = try inputs(texts, textsB, count)
        let labels = UnsafeBufferPointer(start: try required(labels, "labels"), count: inputs.count).map(Int.init)
        let found = try classifier.fit(inputs, labels: labels, options: try headTrainingOptions(options))
        losses?.update(from: found, count: found.count)
    }
}

@c @implementation
public func seam_classifier_predict(
    _ classifier: OpaquePointer?, _ texts: UnsafePointer<UnsafePointer<CChar>?>?,
    _ textsB: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ scores: UnsafeMutablePointer<Float>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let classifier = try object(classifier, "classifier", as: ClassifierHandle.self).classifier
        let out = try required(scores, "scores")
        let found = try classifier.scores(try inputs(texts, textsB, count))
        out.update(from: found, count: found.count)
    }
}

@c @implementation
public func seam_classifier_query_count(_ classifier: OpaquePointer?) -> Int64 {
    let handle = try? object(classifier, "classifier", as: ClassifierHandle.self)
    return handle.map { Int64($0.classifier.extractor.source.queryCount) } ?? -1
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

private func inputs(
    _ first: UnsafePointer<UnsafePointer<CChar>?>?, _ second: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int
) throws -> [InputText] {
    guard count != 0 else { throw SeamError(.invalidArgument, "argument count must be positive, found 0") }
    let first = try texts(first, count, "texts")
    guard second != nil else { return first.map { InputText($0) } }
    return zip(first, try texts(second, count, "texts_b")).map { InputText($0, $1) }
}
