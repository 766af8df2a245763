import CSeam
import SeamHost
import Support

@c @implementation
public func seam_abi_version(_ major: UnsafeMutablePointer<UInt32>?, _ minor: UnsafeMutablePointer<UInt32>?) {
    major?.pointee = SEAM_ABI_MAJOR
    minor?.pointee = SEAM_ABI_MINOR
}

@c @implementation
public func seam_version() -> UnsafePointer<CChar>? {
    // A static string ends with a NUL.
    UnsafeRawPointer(seamVersion.utf8Start).assumingMemoryBound(to: CChar.self)
}

@c @implementation
public func seam_error_code(_ error: OpaquePointer?) -> seam_status {
    error.map { ErrorObject.from($0).error.code.rawValue } ?? seam_status(SEAM_OK)
}

@c @implementation
public func seam_error_message(_ error: OpaquePointer?) -> UnsafePointer<CChar>? {
    error.map { UnsafePointer(ErrorObject.from($0).message) } ?? emptyString
}

@c @implementation
public func seam_error_origin(_ error: OpaquePointer?) -> UnsafePointer<CChar>? {
    error.map { UnsafePointer(ErrorObject.from($0).origin) } ?? emptyString
}

@c @implementation
public func seam_error_release(_ error: OpaquePointer?) {
    if let error { ErrorObject.release(error) }
}

@c @implementation
public func seam_string_release(_ string: UnsafePointer<CChar>?) { string?.deallocate() }

/// What a query on a NULL error gives, so that printing it never crashes.
private var emptyString: UnsafePointer<CChar> {
    UnsafeRawPointer(("" as StaticString).utf8Start).assumingMemoryBound(to: CChar.self)
}
