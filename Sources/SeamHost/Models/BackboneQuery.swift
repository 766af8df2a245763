import CSeam
import Support

/// What a text backbone answered.
public struct QueryAnswer: Sendable {
    /// [answered, answers]: natural logarithms of the answers' probabilities.
    public let scores: [Float]
    /// [answered, d_model].
    public let hidden: [Float]
    /// How many prompts have their rows: the first ones. All of them where there is no failure.
    public let answered: Int
    /// Requests that were sent, repeated ones included.
    public let requests: Int
    /// Why not all prompts are answered.
    public let failure: SeamError?
}

extension Backbone {
    /// Asks a text backbone how probable each answer is after each prompt, and for its hidden state there.
    ///
    /// Requests may cost money: what was answered before a failure is returned with it, not thrown away. Any thread may
    /// ask; one query runs at a time, and the others wait.
    /// - Parameters:
    ///   - answers: words that may continue a prompt, with the space before them where there is one.
    ///   - progress: asked between requests, with how many prompts are answered of how many; false stops with a failure
    ///     `.cancelled`.
    /// - Returns: the rows before the first failure; a row with NaN or infinity is one, `.numeric`.
    /// - Throws: `.unsupported` for a backbone that reads tokens, `.invalidArgument` for no answer, an empty one or
    ///   text with a NUL, and where `progress` of a query asks the same backbone, and `.plugin` for a count that cannot be.
    public func query(
        prompts: [String], answers: [String], progress: (_ done: Int, _ total: Int) -> Bool = { _, _ in true }
    ) throws -> QueryAnswer {
        guard info.architecture == .text, let query = table.query else {
            throw SeamError(
                .unsupported, "\(name) reads tokens and answers no queries", origin: origin)
        }
        guard !answers.isEmpty, answers.allSatisfy({ !$0.isEmpty }) else {
            throw SeamError(.invalidArgument, "a query needs answers to choose from, none of them empty")
        }
        guard (prompts + answers).allSatisfy({ !$0.utf8.contains(0) }) else {
            throw SeamError(.invalidArgument, "a prompt or an answer holds a NUL character")
        }
        try Memory.require(
            prompts.count, answers.count + info.dModel, 4,
            for: "a query of \(prompts.count) prompts and \(answers.count) answers")
        guard try queries.take(goesOn: { progress(0, prompts.count) }) else {
            let stopped = SeamError(.cancelled, "a query was cancelled while another one was answered")
            return QueryAnswer(scores: [], hidden: [], answered: 0, requests: 0, failure: stopped)
        }
        defer { queries.giveBack() }
        var scores = [Float](repeating: 0, count: prompts.count * answers.count)
        var hidden = [Float](repeating: 0, count: prompts.count * info.dModel)
        var io = seam_query()
        io.struct_size = UInt32(MemoryLayout<seam_query>.size)
        io.prompt_count = prompts.count
        io.answer_count = answers.count
        var slot: OpaquePointer?
        let status = withCStrings(prompts) { prompts in
            withCStrings(answers) { answers in
                scores.withUnsafeMutableBufferPointer { scores in
                    hidden.withUnsafeMutableBufferPointer { hidden in
                        withUnsafeMutablePointer(to: &io) { io in
                            withoutActuallyEscaping(progress) { progress in
                                // How far it is stands in the struct that the plugin fills.
                                let asking = {
                                    let count = io.pointee.prompt_count
                                    return progress(min(max(io.pointee.answered, 0), count), count)
                                }
                                return withUnsafePointer(to: asking) { asking in
                                    io.pointee.prompts = prompts
                                    io.pointee.answers = answers
                                    io.pointee.user = UnsafeMutableRawPointer(mutating: asking)
                                    io.pointee.should_continue = {
                                        $0!.assumingMemoryBound(to: (() -> Bool).self).pointee() ? 1 : 0
                                    }
                                    io.pointee.scores = scores.baseAddress
                                    io.pointee.hidden = hidden.baseAddress
                                    return query(instance, io, &slot)
                                }
                            }
                        }
                    }
                }
            }
        }
        var failure = ErrorObject.failure(slot, status: status, origin: origin, during: "a query")
        var answered = io.answered
        // Fewer answers than prompts need a reason; more there cannot be.
        guard answered == prompts.count || failure != nil && (0..<prompts.count).contains(answered) else {
            let reason = failure == nil ? "no failure" : "a failure"
            throw SeamError(
                .plugin,
                "query reports \(UInt(bitPattern: answered)) of \(prompts.count) prompts answered and \(reason)",
                origin: origin)
        }
        // Requests are added up over many queries.
        guard (0...1 << 40).contains(io.requests) else {
            throw SeamError(.plugin, "query reports \(io.requests) requests", origin: origin)
        }
        for (values, name, width) in [(scores, "scores", answers.count), (hidden, "hidden", info.dModel)] {
            guard let place = values[..<(answered * width)].firstIndex(where: { !$0.isFinite }) else { continue }
            answered = place / width
            failure = SeamError(
                .numeric, "query gave \(values[place]) in \(name) of prompt \(answered)", origin: origin)
        }
        return QueryAnswer(
            scores: Array(scores[..<(answered * answers.count)]), hidden: Array(hidden[..<(answered * info.dModel)]),
            answered: answered, requests: Int(io.requests), failure: failure)
    }
}

/// Strings as a C array of C strings, valid during `body`.
private func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result
) -> Result {
    let copies = strings.map { UnsafePointer<CChar>?(copyCString($0)) }
    defer { for copy in copies { copy?.deallocate() } }
    return copies.withUnsafeBufferPointer { body($0.baseAddress) }
}
