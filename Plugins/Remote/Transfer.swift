import CCurl
import SeamPlugin

/// One request under way.
final class Transfer {
    let job: Job
    let handle: UnsafeMutableRawPointer
    private let started = now()
    private let headers: UnsafeMutablePointer<curl_slist>?
    private let failure: UnsafeMutablePointer<CChar>
    private var reply: [UInt8] = []
    private var isTooLong = false

    /// No reply of use is longer: 2048 prompts with 5000 tokens each.
    private static let longest = 1 << 30

    /// Nil when there is no memory.
    init?(_ job: Job, _ settings: Settings, headers: UnsafeMutablePointer<curl_slist>?) {
        guard let handle = curl_easy_init() else { return nil }
        (self.job, self.handle, self.headers) = (job, handle, headers)
        failure = .allocate(capacity: Int(CURL_ERROR_SIZE))
        failure.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        _ = job.url.withCString { curl_set_text(handle, CURLOPT_URL, $0) }
        _ = curl_set_pointer(handle, CURLOPT_HTTPHEADER, headers)
        _ = curl_set_long(handle, CURLOPT_POSTFIELDSIZE, job.body.count)
        _ = curl_set_text(handle, CURLOPT_POSTFIELDS, job.body.bytes)
        _ = curl_set_pointer(handle, CURLOPT_ERRORBUFFER, failure)
        _ = curl_set_long(handle, CURLOPT_TIMEOUT_MS, Int(settings.timeout * 1000))
        _ = curl_set_long(handle, CURLOPT_CONNECTTIMEOUT_MS, Int(settings.timeout * 1000))
        // No signals: other threads of the program may run.
        _ = curl_set_long(handle, CURLOPT_NOSIGNAL, 1)
        // A redirect could lead the key to another host.
        _ = curl_set_long(handle, CURLOPT_FOLLOWLOCATION, 0)
        _ = curl_set_pointer(handle, CURLOPT_WRITEDATA, Unmanaged.passUnretained(self).toOpaque())
        _ = curl_set_write_function(handle) { data, size, count, transfer in
            Unmanaged<Transfer>.fromOpaque(transfer!).takeUnretainedValue().append(data, size * count)
        }
    }

    deinit {
        curl_easy_cleanup(handle)
        failure.deallocate()
    }

    private func append(_ data: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
        guard let data, reply.count + count <= Self.longest else {
            isTooLong = true
            return 0  // fewer bytes than given: libcurl gives up
        }
        reply.append(contentsOf: UnsafeRawBufferPointer(start: data, count: count))
        return count
    }

    /// Hands the reply to the job, once libcurl is done.
    /// - Throws: one sentence for whatever went wrong.
    func finish(_ result: CURLcode, _ settings: Settings, log: HostLog) throws(Problem) {
        guard result == CURLE_OK else { throw broken(result, settings) }
        var status = 0
        _ = curl_get_long(handle, CURLINFO_RESPONSE_CODE, &status)
        let milliseconds = Int((now() - started) * 1000)
        log.debug("POST \(job.url): \(status), \(reply.count) bytes in \(milliseconds) ms, attempt \(job.attempts)")
        guard status == 200 else { throw refused(status, settings) }
        try withJSON(reply, from: job.url) { (root) throws(Problem) in
            // Some servers, and gateways before them, report a failure in a reply that says it is none.
            guard root["error"].isNull else {
                throw refused(root["error"]["code"].integer.flatMap { 400..<600 ~= $0 ? $0 : nil } ?? 200, settings)
            }
            try job.accept(root)
        }
    }

    /// A connection that failed or broke off.
    private func broken(_ result: CURLcode, _ settings: Settings) -> Problem {
        if isTooLong { return Problem(.format, "\(job.url) sent more than \(Self.longest) bytes") }
        let reason = failure.pointee != 0 ? Text(failure) : Text(curl_easy_strerror(result))
        // A wrong certificate or name of a host stays wrong.
        let lasting = [
            CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE,
        ]
        return Problem(
            .io, "\(job.url) cannot be reached: \(Quotation(reason.utf8, settings.secret))",
            isTransient: !lasting.contains { $0 == result })
    }

    /// A reply with another status than 200, or with an error in it, which may have a status of its own.
    private func refused(_ status: Int, _ settings: Settings) -> Problem {
        let said = Quotation(reply: reply, settings.secret)
        let sentence = "\(job.url) answered \(status)" + (said.isEmpty ? "" : ": \(said)")
        switch status {
        case 300..<400:
            return Problem(.io, "\(sentence); redirects are not followed: set the URL to where the server is")
        case 400 where said.mentionsLogprobs:
            return Problem(.invalidArgument, "\(sentence); lower the option 'logprobs', which is \(settings.logprobs)")
        case 400, 413, 422: return Problem(.invalidArgument, sentence)
        case 401, 403:
            let hint = settings.secret == nil ? "; no API key was sent (option 'api_key_env')" : ""
            return Problem(.io, sentence + hint)
        case 404: return Problem(.notFound, sentence)
        case 501: return Problem(.unsupported, sentence)
        case 408, 429, 500...:
            var problem = Problem(.io, sentence, isTransient: true)
            var seconds: curl_off_t = 0
            _ = curl_get_offset(handle, CURLINFO_RETRY_AFTER, &seconds)
            problem.wait = Double(seconds)
            problem.slowsDown = status == 429
            return problem
        default: return Problem(.io, sentence)
        }
    }
}

/// Seconds of a clock that only goes forward.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
