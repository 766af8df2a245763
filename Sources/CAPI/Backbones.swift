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

/// The options argument of a factory: NULL for none.
func options(_ json: UnsafePointer<CChar>?) throws -> JSON {
    guard let source = try optionalText(json, "options_json") else { return .null }
    return try JSON.parse(source, name: "argument options_json")
}
