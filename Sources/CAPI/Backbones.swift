import CSeam
import Files
import Session
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
public func seam_backbone_get_info(_ backbone: OpaquePointer?, _ out: UnsafeMutablePointer<seam_backbone_info>?) {
    guard let out, let handle = try? object(backbone, "backbone", as: BackboneHandle.self) else { return }
    write(handle.info, to: out)
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
    _ answers: UnsafePointer<UnsafePointer<CChar>?>?, _ answerCount: Int, _ shouldContinue: seam_query_callback?,
    _ user: UnsafeMutableRawPointer?, _ scores: UnsafeMutablePointer<Float>?, _ hidden: UnsafeMutablePointer<Float>?,
    _ answered: UnsafeMutablePointer<Int>?, _ requests: UnsafeMutablePointer<Int64>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        answered?.pointee = 0
        requests?.pointee = 0
        let handle = try object(backbone, "backbone", as: BackboneHandle.self)
        let prompts = try texts(prompts, promptCount, "prompts", counted: "prompt_count")
        let answers = try texts(answers, answerCount, "answers", counted: "answer_count")
        let out = try required(scores, "scores")
        let found = try handle.backbone.query(prompts: prompts, answers: answers) {
            shouldContinue.map { $0(user) != 0 } ?? true
        }
        out.update(from: found.scores, count: found.scores.count)
        hidden?.update(from: found.hidden, count: found.hidden.count)
        answered?.pointee = found.answered
        requests?.pointee = Int64(found.requests)
        if let failure = found.failure { throw failure }
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
func options(_ json: UnsafePointer<CChar>?) throws -> JSON {
    guard let source = try optionalText(json, "options_json") else { return .null }
    return try JSON.parse(source, name: "argument options_json")
}
