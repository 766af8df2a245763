/// What a server said, fit to stand in a sentence: without the key, on one line, short.
struct Quotation: CustomStringConvertible {
    private let text: [UInt8]

    private static let longest = 200

    init(_ text: [UInt8], _ secret: Secret?) {
        // The key goes first: cut in half it would not be recognised.
        var line = (secret?.redacted(text) ?? text).map { $0 < 32 || $0 == 127 ? UInt8(ascii: " ") : $0 }
        while line.last == UInt8(ascii: " ") { line.removeLast() }
        if line.count > Self.longest {
            // Not within a character: its later bytes are 10xxxxxx.
            var end = Self.longest
            while end > 0, line[end] & 0xc0 == 0x80 { end -= 1 }
            line = Array(line[..<end]) + Array("...".utf8)
        }
        self.text = line
    }

    /// The message in an error reply: OpenAI's {"error": {"message": ...}}, the forms of other servers, or all of it.
    init(reply: [UInt8], _ secret: Secret?) {
        let message = try? withJSON(reply, from: "") { (root) throws(Problem) -> [UInt8]? in
            root["error"]["message"].text ?? root["error"].text ?? root["message"].text ?? root["detail"].text
        }
        self.init((message ?? nil) ?? reply, secret)
    }

    var isEmpty: Bool { text.isEmpty }

    var mentionsLogprobs: Bool {
        let word = Array("logprobs".utf8)
        return text.indices.contains { text[$0...].starts(with: word) }
    }

    var description: String { String(decoding: text, as: UTF8.self) }
}
