import CSeam
import Files
import SeamHost
import Support

@c @implementation
public func seam_backbone_open(
    _ runtime: OpaquePointer?, _ id: UnsafePointer<CChar>?, _ path: UnsafePointer<CChar>?,
    _ optionsJSON: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(runtime, "runtime", as: RuntimeHandle.self)
        let out = try required(out, "out")
        let backbone = try Backbone(
            runtime: owner.runtime, id: try optionalText(id, "id"), path: try optionalText(path, "path"),
            options: try options(optionsJSON))
        out.pointee = handOver(BackboneHandle(backbone, owner: owner))
    }
}

@c @implementation
public func seam_backbone_release(_ backbone: OpaquePointer?) { release(backbone, BackboneHandle.self) }

@c @implementation
public func seam_backbone_get_info(
    _ backbone: OpaquePointer?, _ out: UnsafeMutablePointer<seam_backbone_info>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(backbone, "backbone", as: BackboneHandle.self)
        write(handle.backbone.record.pointer.pointee, to: try place(out, "out"))
    }
}

@c @implementation
public func seam_backbone_save(_ backbone: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(backbone, "backbone", as: BackboneHandle.self)
        try BackboneFolder.save(handle.backbone, to: try text(path, "path"))
    }
}

@c @implementation
public func seam_backbone_query(
    _ backbone: OpaquePointer?, _ prompts: UnsafePointer<UnsafePointer<CChar>?>?, _ promptCount: Int,
    _ answers: UnsafePointer<UnsafePointer<CChar>?>?, _ answerCount: Int, _ progress: seam_progress_callback?,
    _ user: UnsafeMutableRawPointer?, _ scores: UnsafeMutablePointer<Float>?, _ scoreCapacity: Int,
    _ hidden: UnsafeMutablePointer<Float>?, _ hiddenCapacity: Int, _ answered: UnsafeMutablePointer<Int>?,
    _ requests: UnsafeMutablePointer<Int64>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        answered?.pointee = 0
        requests?.pointee = 0
        let handle = try object(backbone, "backbone", as: BackboneHandle.self)
        let prompts = try texts(prompts, promptCount, "prompts", counted: "prompt_count")
        let answers = try texts(answers, answerCount, "answers", counted: "answer_count")
        let out = try required(scores, "scores")
        // What reads tokens is refused for that below.
        if handle.backbone.info.architecture == .text {
            let width = handle.backbone.info.dModel
            try requireRoom(
                scoreCapacity, "score_capacity", for: prompts.count * answers.count,
                "\(answers.count) scores of each of \(prompts.count) prompts")
            try requireRoom(
                hidden == nil ? nil : hiddenCapacity, "hidden_capacity", for: prompts.count * width,
                "\(width) numbers of each of \(prompts.count) prompts")
        }
        let progress = Progress(progress, user)
        func isWanted(_ done: Int, _ total: Int) -> Bool { progress.report(.query, done: done, total: total) }
        let found = try handle.backbone.query(prompts: prompts, answers: answers, progress: isWanted)
        out.update(from: found.scores, count: found.scores.count)
        hidden?.update(from: found.hidden, count: found.hidden.count)
        answered?.pointee = found.answered
        requests?.pointee = Int64(found.requests)
        if let failure = found.failure { throw failure }
        guard isWanted(found.answered, prompts.count) else { throw SeamError(.cancelled, "the query was cancelled") }
    }
}

/// An array of strings; NULL only for none.
func texts(
    _ array: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ name: String, counted counter: String = "count"
) throws -> [String] {
    let count = try CAPI.count(count, counter)
    guard count > 0 else { return [] }
    let array = try required(array, name)
    return try (0..<count).map { try text(array[$0], "\(name)[\($0)]") }
}

/// The options argument of a factory: NULL for none.
func options(_ json: UnsafePointer<CChar>?, _ name: String = "options_json") throws -> JSON {
    guard let source = try optionalText(json, name) else { return .null }
    return try JSON.parse(source, name: "argument \(name)")
}
