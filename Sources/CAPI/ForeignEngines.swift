import CSeam
import Engine
import Files
import SeamHost
import Support

// Models that an engine of the caller's runs, and their adapters.

extension seam_pass: SizedStruct { static var leastSize: UInt32 { SEAM_PASS_SIZE_1_0 } }
extension seam_forward: SizedStruct { static var leastSize: UInt32 { SEAM_FORWARD_SIZE_1_0 } }

@c @implementation
public func seam_backbone_create(
    _ runtime: OpaquePointer?, _ info: UnsafePointer<seam_backbone_info>?, _ path: UnsafePointer<CChar>?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(runtime, "runtime", as: RuntimeHandle.self)
        let out = try required(out, "out")
        let backbone = try Backbone(
            runtime: owner.runtime, describing: try read(info, "info"), path: try optionalText(path, "path"))
        out.pointee = handOver(BackboneHandle(backbone, owner: owner))
    }
}

@c @implementation
public func seam_adapter_forward(
    _ adapter: OpaquePointer?, _ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_forward>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        var own = seam_pass.sized
        let given = try read(pass, "pass")
        own.training = given.training
        (own.ctx, own.ops) = (given.ctx, given.ops)
        (own.parameters, own.parameter_count) = (given.parameters, given.parameter_count)
        (own.attention_mask, own.position_ids) = (given.attention_mask, given.position_ids)
        own.generated_mask = given.generated_mask
        // The arrays are the caller's, and what is filled.
        var filled = try read(io.map { UnsafePointer($0) }, "io")
        filled.struct_size = seam_forward.sized.struct_size
        try adapter.forward(pass: own, &filled)
    }
}

@c @implementation
public func seam_adapter_prepare(
    _ adapter: OpaquePointer?, _ inputs: UnsafePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?,
    _ inputCount: Int, _ labels: UnsafeMutablePointer<DLManagedTensorVersioned>?,
    _ emptyScores: UnsafeMutablePointer<DLManagedTensorVersioned>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        // Before anything else can fail: they are taken over in any case.
        let given = Result { try tensors(inputs, inputCount) }
        let labels = Result { try labels.map { try DLPack.importing($0) } }
        let emptyScores = Result { try emptyScores.map { try DLPack.importing($0) } }
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        try adapter.prepare(checking: try given.get(), labels: try labels.get(), emptyScores: try emptyScores.get())
    }
}

/// Tensors of the caller's; each is taken over, even when another is wrong.
private func tensors(_ array: UnsafePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?, _ count: Int) throws
    -> [Tensor]
{
    let count = try CAPI.count(count, "input_count", atMost: 1 << 20)
    guard count > 0 else { return [] }
    let source = UnsafeBufferPointer(start: try required(array, "inputs"), count: count)
    let converted = source.enumerated().map { index, tensor in
        Result { try DLPack.importing(try required(tensor, "inputs[\(index)]")) }
    }
    return try converted.map { try $0.get() }
}

// MARK: Folders of several adapters

@c @implementation
public func seam_adapters_save(
    _ adapters: UnsafePointer<OpaquePointer?>?, _ count: Int, _ path: UnsafePointer<CChar>?,
    _ backbonePath: UnsafePointer<CChar>?, _ notes: UnsafePointer<CChar>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let count = try CAPI.count(count, "count", atMost: 1000)
        let handles = try (0..<count).map { index in
            try object(try required(adapters, "adapters")[index], "adapters[\(index)]", as: AdapterHandle.self)
        }
        guard let backbone = handles.first?.owner.backbone else {
            throw SeamError(.invalidArgument, "there is no adapter to save")
        }
        try AdapterFolder.saveAll(
            handles.map(\.adapter), backbone: backbone, isBackboneTrained: handles[0].trainsBackbone,
            weights: try optionalText(backbonePath, "backbone_path").map { try ModelFiles($0) },
            notes: try optionalText(notes, "notes") ?? "", to: try text(path, "path"))
    }
}

@c @implementation
public func seam_adapters_load(
    _ backbone: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?,
    _ capacity: Int, _ count: UnsafeMutablePointer<Int>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(backbone, "backbone", as: BackboneHandle.self)
        let capacity = try CAPI.count(capacity, "capacity", atMost: 1 << 62)
        let folders = try AdapterFolder.folders(in: try text(path, "path"))
        try required(count, "count").pointee = folders.count
        guard capacity >= folders.count else { return }
        let out = try required(out, "out")
        let adapters = try folders.map { try AdapterFolder.load($0, backbone: owner.backbone) }
        for (index, adapter) in adapters.enumerated() {
            out[index] = handOver(AdapterHandle(adapter, owner: owner))
        }
    }
}
