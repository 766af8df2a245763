import CSeam

/// A pretrained model on disk: its config.json and the shapes of its tensors. Valid during `accepts` and
/// `init`; the host maps the tensors themselves when it fills parameters (`Parameter.Initial.model`).
public struct Model {
    let host: UnsafePointer<seam_host>
    let raw: OpaquePointer

    /// The model's config.json.
    public var config: Options {
        Options(host: host, raw: host.pointee.model_config(raw)!, kind: "config.json:")
    }

    /// The shape of a tensor, or nil when the model has none of this name.
    public func shape(of tensor: String) -> [Int]? {
        var rank: Int32 = 0
        return withUnsafeTemporaryAllocation(of: Int64.self, capacity: Int(SEAM_MAX_RANK)) { sizes in
            guard host.pointee.model_tensor(raw, tensor, sizes.baseAddress, &rank) == Status.ok.rawValue else {
                return nil
            }
            return sizes.prefix(Int(rank)).map { Int($0) }
        }
    }
}
