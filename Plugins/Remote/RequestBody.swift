import CJansson
import SeamPlugin

/// The JSON of one request. Sent again as it is when a request is repeated.
final class RequestBody {
    let bytes: UnsafePointer<CChar>
    let count: Int

    /// Takes over `root`.
    private init(_ root: UnsafeMutablePointer<json_t>?) throws(Problem) {
        defer { json_decref(root) }
        guard let text = json_dumps(root, Int(JSON_COMPACT)) else {
            throw Problem(.invalidArgument, "a request could not be written as JSON")
        }
        var count = 0
        while text[count] != 0 { count += 1 }
        (bytes, self.count) = (UnsafePointer(text), count)
    }

    deinit { free(UnsafeMutablePointer(mutating: bytes)) }

    /// One token after each prompt, with the log-probabilities of the `logprobs` most likely.
    static func completion(_ prompts: ArraySlice<Text>, model: String, logprobs: Int) throws(Problem) -> RequestBody {
        let root = try object(model, "prompt", prompts)
        json_object_set_new(root, "max_tokens", json_integer(1))
        json_object_set_new(root, "logprobs", json_integer(json_int_t(logprobs)))
        json_object_set_new(root, "temperature", json_integer(0))
        return try RequestBody(root)
    }

    /// One vector for each text.
    static func embedding(_ texts: ArraySlice<Text>, model: String) throws(Problem) -> RequestBody {
        try RequestBody(try object(model, "input", texts))
    }

    private static func object(
        _ model: String, _ key: String, _ texts: ArraySlice<Text>
    ) throws(Problem) -> UnsafeMutablePointer<json_t>? {
        let root = json_object()
        // A server that serves one model needs no name.
        if !model.utf8.isEmpty { json_object_set_new(root, "model", json_string(model)) }
        let values = json_array()
        for (index, text) in zip(texts.indices, texts) {
            guard let value = json_string(text.cString) else {
                json_decref(values)
                json_decref(root)
                throw Problem(.invalidArgument, "prompt \(index) is not valid UTF-8")
            }
            json_array_append_new(values, value)
        }
        if texts.count == 1 {
            json_object_set(root, key, json_array_get(values, 0))
            json_decref(values)
        } else {
            json_object_set_new(root, key, values)
        }
        return root
    }
}
