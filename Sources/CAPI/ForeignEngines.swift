import CSeam
import Engine
import Files
import SeamHost
import Support

// Models that an engine of the caller's runs, and their adapters.

extension seam_pass: SizedStruct { static var leastSize: UInt32 { SEAM_PASS_SIZE_1_0 } }
extension seam_forward: SizedStruct { static var leastSize: UInt32 { SEAM_FORWARD_SIZE_1_0 } }
extension seam_examples: SizedStruct { static var leastSize: UInt32 { SEAM_EXAMPLES_SIZE_1_0 } }

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
        own.training = try flag(given.training, "training of argument pass") ? 1 : 0
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
    _ adapter: OpaquePointer?, _ given: UnsafePointer<seam_examples>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let given = try read(given, "given")
        func tensor(_ pointer: UnsafeMutablePointer<DLManagedTensorVersioned>?) -> Result<Tensor?, any Error> {
            Result { try pointer.map { try DLPack.importing($0) } }
        }
        // Before anything else can fail: they are taken over in any case.
        let inputs = Result { try tensors(given.inputs, given.input_count) }
        let (labels, emptyScores) = (tensor(given.labels), tensor(given.empty_scores))
        let (tokens, generated) = (tensor(given.attention_mask), tensor(given.generated_mask))
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        try adapter.prepare(
            checking: PreparationInput(
                inputs: try inputs.get(), point: given.point < 0 ? nil : Int(given.point), tokens: try tokens.get(),
                generated: try generated.get(), labels: try labels.get(), emptyScores: try emptyScores.get()))
    }
}

/// Tensors of the caller's; each is taken over, even when another is wrong. Nil for one that is not there.
private func tensors(_ array: UnsafePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?, _ count: Int) throws
    -> [Tensor?]
{
    let count = try CAPI.count(count, "input_count", atMost: 1 << 20)
    guard count > 0 else { return [] }
    let source = UnsafeBufferPointer(start: try required(array, "inputs"), count: count)
    let converted = source.map { tensor in Result { try tensor.map { try DLPack.importing($0) } } }
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
