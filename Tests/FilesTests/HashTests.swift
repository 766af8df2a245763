import Files
import Support
import TestSupport
import Testing

@Suite struct HashTests {
    /// Values of Python's xxhash 4.1.0, `xxhash.xxh64(text).hexdigest()`.
    @Test(arguments: [
        ("", "ef46db3751d8e999"), ("a", "d24ec4f1a98c6e5b"), ("abc", "44bc2cf5ad770999"),
        (String(repeating: "0123456789", count: 10), "f80e7b96315afffa"),
    ])
    func agreesWithXXH64(_ text: String, _ expected: String) {
        #expect(ContentHash.hex(ContentHash.of(text)) == expected)
    }

    @Test func piecesDoNotMatter() {
        let bytes = (0..<45).map { UInt8($0) }
        for first in 0...45 {
            for second in stride(from: first, through: 45, by: 7) {
                var hash = ContentHash()
                for piece in [bytes[..<first], bytes[first..<second], bytes[second...]] {
                    Array(piece).withUnsafeBytes { hash.update($0) }
                }
                #expect(hash.hex == "10fdd84d6409abdf")
            }
        }
    }

    @Test func textsAreToldApartByTheirBorders() {
        func hash(_ texts: String...) -> UInt64 {
            var hash = ContentHash()
            for text in texts { hash.update(text) }
            return hash.value
        }
        #expect(hash("ab", "c") != hash("a", "bc"))
        #expect(hash("ab", "c") == hash("ab", "c"))
        #expect(ContentHash.hex(1) == "0000000000000001")
    }

    @Test func hashesFiles() throws {
        let scratch = try ScratchFolder()
        #expect(try ContentHash.ofFile(scratch.write("x", "abc")) == ContentHash.of("abc"))
        expectError(.notFound, "none") { try ContentHash.ofFile(scratch["none"]) }
    }
}
