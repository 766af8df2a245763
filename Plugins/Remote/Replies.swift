import SeamPlugin

// What the two functions of the API send back, as lists in the order of the prompts.

/// The next tokens after each prompt, from a reply of /completions: OpenAI's form (`top_logprobs` of the one token, an
/// object from tokens to numbers) or that of newer servers of llama.cpp (`content`, a list of tokens with their bytes).
/// - Throws: `.format` for a reply that lacks anything, `.numeric` for a log-probability that is no number.
func candidates(_ root: Node, count: Int, from source: String) throws(Problem) -> [Candidates] {
    let choices = try ordered(root["choices"], "choices", count, from: source)
    var found: [Candidates] = []
    for choice in choices {
        let logprobs = choice["logprobs"]
        var next = Candidates()
        if let members = logprobs["top_logprobs"][0].members {
            for (token, value) in members { try next.add(token, value, from: source) }
        } else {
            let listed = logprobs["content"][0]["top_logprobs"]
            for index in 0..<(listed.count ?? 0) {
                let token = listed[index]
                guard let text = bytes(token["bytes"]) ?? token["token"].text else {
                    throw Problem(.format, "\(source) sent a token without its text")
                }
                try next.add(text, token["logprob"], from: source)
            }
        }
        guard !next.isEmpty else {
            throw Problem(.format, "\(source) sent no log-probabilities: the server or the model does not offer them")
        }
        found.append(next)
    }
    return found
}

/// The vector of each text, from a reply of /embeddings.
/// - Parameter width: how long each must be; nil: all as long as the first.
/// - Throws: `.format` for a reply that lacks anything, `.numeric` for a value that is no number, `.shape` for another
///   length.
func vectors(_ root: Node, count: Int, width: Int?, from source: String) throws(Problem) -> [[Float]] {
    var width = width
    var found: [[Float]] = []
    for item in try ordered(root["data"], "data", count, from: source) {
        guard let length = item["embedding"].count, length > 0 else {
            throw Problem(.format, "\(source) sent no list of numbers as an embedding")
        }
        guard item["embedding"][0].count == nil else {
            throw Problem(
                .format,
                "\(source) sent a vector for each token, not one for the text: let it pool (llama.cpp: --pooling last)")
        }
        guard length == width ?? length else {
            throw Problem(.shape, "\(source) sent an embedding of \(length) values where \(width ?? 0) are expected")
        }
        width = length
        var vector: [Float] = []
        vector.reserveCapacity(length)
        for index in 0..<length {
            guard let number = item["embedding"][index].number, Float(number).isFinite else {
                throw Problem(.numeric, "\(source) sent an embedding whose value \(index) is null, NaN or infinite")
            }
            vector.append(Float(number))
        }
        found.append(vector)
    }
    return found
}

/// The items of a list, each at the place that its `index` names.
private func ordered(_ list: Node, _ name: StaticString, _ count: Int, from source: String) throws(Problem) -> [Node] {
    guard let found = list.count else { throw Problem(.format, "\(source) sent no list \"\(name)\"") }
    guard found == count else {
        throw Problem(.format, "\(source) sent \(found) entries in \"\(name)\" for \(count) prompts")
    }
    var items = [Node?](repeating: nil, count: count)
    for position in 0..<count {
        let index = list[position]["index"].integer ?? position
        guard items.indices.contains(index), items[index] == nil else {
            throw Problem(
                .format, "\(source) numbered the entries of \"\(name)\" wrongly: \(index) of \(count) is out of place")
        }
        items[index] = list[position]
    }
    return items.compactMap { $0 }
}

/// A list of bytes; nil for anything else.
private func bytes(_ list: Node) -> [UInt8]? {
    guard let count = list.count, count > 0 else { return nil }
    var found: [UInt8] = []
    for index in 0..<count {
        guard let byte = list[index].integer.flatMap({ UInt8(exactly: $0) }) else { return nil }
        found.append(byte)
    }
    return found
}
