import CSeam
import Support

/// What a `seam_error *` points at.
public final class ErrorObject {
    public let error: SeamError
    /// The message as a C string, made once, for callers that keep the pointer as long as the error.
    public let message: UnsafeMutablePointer<CChar>
    public let origin: UnsafeMutablePointer<CChar>

    init(_ error: SeamError) {
        self.error = error
        message = copyCString(error.message)
        origin = copyCString(error.origin)
    }

    deinit {
        message.deallocate()
        origin.deallocate()
    }

    /// Sets *target, if the caller wants an error object, to a new one that the caller owns.
    public static func set(_ target: UnsafeMutablePointer<OpaquePointer?>?, _ error: SeamError) {
        target?.pointee = OpaquePointer(Unmanaged.passRetained(ErrorObject(error)).toOpaque())
    }

    public static func from(_ handle: OpaquePointer) -> ErrorObject {
        Unmanaged<ErrorObject>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
    }

    public static func release(_ handle: OpaquePointer) {
        Unmanaged<ErrorObject>.fromOpaque(UnsafeRawPointer(handle)).release()
    }

    /// How a plugin's function failed, the object in `slot` released; nil where it did not: the status is SEAM_OK and no
    /// error was set. A plugin that failed without an error is told so.
    static func failure(_ slot: OpaquePointer?, status: seam_status, origin: String, during action: String)
        -> SeamError?
    {
        if status == 0, slot == nil { return nil }
        let code = ErrorCode(rawValue: status) ?? .plugin
        guard let slot else {
            return SeamError(code, "\(action) failed with status \(status) and no message", origin: origin)
        }
        let error = from(slot).error
        release(slot)
        return SeamError(error.code, error.message, origin: origin)
    }
}

/// A heap copy of a Swift string with a final NUL; released by `deallocate`.
public func copyCString(_ text: String) -> UnsafeMutablePointer<CChar> {
    let bytes = Array(text.utf8CString)
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    copy.update(from: bytes, count: bytes.count)
    return copy
}
