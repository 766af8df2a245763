import CSeam
import SeamHost

// The structs of client.h that grow: each begins with its struct_size, and the caller may have been compiled with an
// older or a newer header than this library. What a caller gives is copied before it is looked at, and nothing beyond
// struct_size is touched, neither read nor written.

/// A struct that begins with its struct_size.
protocol SizedStruct {
    /// All members 0.
    init()
    /// What version 1.0 gives the struct (sizes.h); a caller's that is smaller is refused.
    static var leastSize: UInt32 { get }
}

extension seam_plugin_info: SizedStruct { static var leastSize: UInt32 { SEAM_PLUGIN_INFO_SIZE_1_0 } }
extension seam_backbone_info: SizedStruct { static var leastSize: UInt32 { SEAM_BACKBONE_INFO_SIZE_1_0 } }
extension seam_progress: SizedStruct { static var leastSize: UInt32 { SEAM_PROGRESS_SIZE_1_0 } }
extension seam_adapter_options: SizedStruct { static var leastSize: UInt32 { SEAM_ADAPTER_OPTIONS_SIZE_1_0 } }
extension seam_batch: SizedStruct { static var leastSize: UInt32 { SEAM_BATCH_SIZE_1_0 } }
extension seam_generate_options: SizedStruct { static var leastSize: UInt32 { SEAM_GENERATE_OPTIONS_SIZE_1_0 } }
extension seam_train_options: SizedStruct { static var leastSize: UInt32 { SEAM_TRAIN_OPTIONS_SIZE_1_0 } }
extension seam_step: SizedStruct { static var leastSize: UInt32 { SEAM_STEP_SIZE_1_0 } }
extension seam_fit_options: SizedStruct { static var leastSize: UInt32 { SEAM_FIT_OPTIONS_SIZE_1_0 } }

extension SizedStruct {
    /// The struct as this library knows it, all other members 0.
    static var sized: Self {
        var value = Self()
        withUnsafeMutableBytes(of: &value) { $0.storeBytes(of: UInt32($0.count), as: UInt32.self) }
        return value
    }
}

/// A copy of a caller's struct; members that its header does not have are 0.
func read<Value: SizedStruct>(_ pointer: UnsafePointer<Value>?, _ name: String) throws -> Value {
    try bounded(try required(pointer, name), atLeast: Value.leastSize, "argument \(name)", code: .invalidArgument)
}

/// A caller's struct that will be filled, checked.
func place<Value: SizedStruct>(
    _ pointer: UnsafeMutablePointer<Value>?, _ name: String
) throws -> UnsafeMutablePointer<Value> {
    _ = try read(pointer.map { UnsafePointer($0) }, name)
    return pointer!
}

/// Fills a caller's struct as far as its struct_size, which stays.
func write<Value: SizedStruct>(_ value: Value, to target: UnsafeMutablePointer<Value>) {
    let target = UnsafeMutableRawPointer(target)
    let first = MemoryLayout<UInt32>.size
    let given = Int(target.load(as: UInt32.self))
    withUnsafeBytes(of: value) { source in
        let end = min(given, source.count)
        guard end > first else { return }
        (target + first).copyMemory(from: source.baseAddress! + first, byteCount: end - first)
    }
}
