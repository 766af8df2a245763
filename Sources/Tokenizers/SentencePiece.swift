import Glibc
import SentencePieceBridge
import Support

/// A model of the SentencePiece library: it normalizes and cuts texts by itself.
///
/// Thread rules: any thread may use it. The library's functions that are called here only read the model, once it
/// is loaded.
final class SentencePiece: TokenizerModel, TokenDecoder, @unchecked Sendable {
    private let model: OpaquePointer
    private let path: String
    let size: Int

    /// Throws `SeamError(.format)`, with what the library says, for a file that is no model.
    init(path: String) throws {
        var reason = [CChar](repeating: 0, count: 512)
        guard let model = spbridge_open(path, &reason, reason.count) else {
            let text = String(decoding: reason.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            throw SeamError(.format, "\(path) is not a SentencePiece model, the library says: \(text)")
        }
        self.model = model
        self.path = path
        size = Int(spbridge_size(model))
    }

    deinit { spbridge_close(model) }

    enum Purpose: Int32 {
        case unknown = 0
        case begin, end, padding
    }

    /// The id of the token that the model itself marks, or nil.
    func id(of purpose: Purpose) -> Int32? {
        let id = spbridge_named(model, purpose.rawValue)
        return id < 0 ? nil : id
    }

    var unknownID: Int32? { id(of: .unknown) }

    func id(of token: String) -> Int32? {
        var token = token
        let id = token.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { spbridge_id(model, $0.baseAddress, $0.count) }
        }
        return id < 0 ? nil : id
    }

    func token(of id: Int32) -> String? {
        guard id >= 0, id < size else { return nil }
        var count = 0
        guard let text = spbridge_token(model, id, &count) else { return nil }
        return text.withMemoryRebound(to: UInt8.self, capacity: count) {
            String(decoding: UnsafeBufferPointer(start: $0, count: count), as: UTF8.self)
        }
    }

    func append(_ pieces: Pieces, to ids: inout [Int32]) throws {
        for range in pieces.ranges {
            var found: UnsafeMutablePointer<Int32>?
            var count = 0
            let status = pieces.text[range].withUnsafeBytes { bytes in
                let text = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                return spbridge_encode(model, text, bytes.count, &found, &count)
            }
            defer { free(found) }
            guard status == 0 else {
                throw SeamError(.internal, "\(path): SentencePiece failed on a text of \(range.count) bytes")
            }
            ids += UnsafeBufferPointer(start: found, count: count)
        }
    }

    func decode(_ tokens: [String]) throws -> [String] {
        let copies = tokens.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        var text: UnsafeMutablePointer<CChar>?
        var count = 0
        let status = copies.map { UnsafePointer($0) }.withUnsafeBufferPointer {
            spbridge_decode(model, $0.baseAddress, $0.count, &text, &count)
        }
        defer { free(text) }
        guard status == 0, let text else {
            throw SeamError(.internal, "\(path): SentencePiece failed to decode \(tokens.count) tokens")
        }
        return text.withMemoryRebound(to: UInt8.self, capacity: count) {
            [String(decoding: UnsafeBufferPointer(start: $0, count: count), as: UTF8.self)]
        }
    }
}
