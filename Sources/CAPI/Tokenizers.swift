import CSeam
import SeamHost
import Support
import Tokenizers

@c @implementation
public func seam_tokenizer_open(
    _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        try required(out, "out").pointee = handOver(try Tokenizer(model: try text(path, "path")))
    }
}

@c @implementation
public func seam_tokenizer_release(_ tokenizer: OpaquePointer?) { release(tokenizer, Tokenizer.self) }

@c @implementation
public func seam_tokenizer_encode(
    _ tokenizer: OpaquePointer?, _ source: UnsafePointer<CChar>?, _ ids: UnsafeMutablePointer<Int32>?, _ capacity: Int,
    _ count: UnsafeMutablePointer<Int>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let tokenizer = try object(tokenizer, "tokenizer", as: Tokenizer.self)
        let (source, count) = (try text(source, "text"), try required(count, "count"))
        let capacity = try CAPI.count(capacity, "capacity", atMost: 1 << 40)
        let target = capacity > 0 ? try required(ids, "ids") : nil
        let found = try tokenizer.encode(source)
        target?.update(from: found, count: min(found.count, capacity))
        count.pointee = found.count
    }
}

@c @implementation
public func seam_tokenizer_decode(
    _ tokenizer: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ count: Int,
    _ text: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let tokenizer = try object(tokenizer, "tokenizer", as: Tokenizer.self)
        let out = try required(text, "text")
        let length = try CAPI.count(count, "count", atMost: 1 << 28)
        let source = length > 0 ? Array(UnsafeBufferPointer(start: try required(ids, "ids"), count: length)) : []
        let found = try tokenizer.decode(source)
        guard !found.utf8.contains(0) else {
            throw SeamError(.unsupported, "the text of these token ids holds U+0000, which a C string cannot")
        }
        out.pointee = copyCString(found)
    }
}
