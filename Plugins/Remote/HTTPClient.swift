import CCurl
import SeamPlugin

/// Sends requests, several at a time over connections that stay open, and repeats those that fail in passing.
final class HTTPClient {
    private let settings: Settings
    private let log: HostLog
    private var multi: UnsafeMutableRawPointer
    /// The process whose connections `multi` holds.
    private var process = getpid()
    private let headers: UnsafeMutablePointer<curl_slist>?
    /// Requests sent in the life of the backbone.
    private(set) var sent = 0

    /// The longest that a server may ask to wait, and that a repetition waits.
    private static let longestWait = 120.0
    /// Seconds between questions whether to go on.
    private static let tick = 0.1

    init(_ settings: Settings, log: HostLog) throws(Problem) {
        guard curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK, let multi = curl_multi_init() else {
            throw Problem(.io, "libcurl cannot be started")
        }
        (self.settings, self.log, self.multi) = (settings, log, multi)
        var headers = curl_slist_append(nil, "Content-Type: application/json")
        // Without this libcurl asks before it sends a long body, and some servers never answer that.
        headers = curl_slist_append(headers, "Expect:")
        if let secret = settings.secret { headers = secret.header.withCString { curl_slist_append(headers, $0) } }
        self.headers = headers
    }

    deinit {
        if process == getpid() { curl_multi_cleanup(multi) }
        curl_slist_free_all(headers)
        curl_global_cleanup()
    }

    /// A forked child has its parent's open connections, and would take its answers from them. It leaves them alone, also
    /// at the end, where they would be closed with a word to the server, and makes its own.
    private func leaveConnectionsOfParent() -> Bool {
        guard process != getpid() else { return true }
        guard let own = curl_multi_init() else { return false }
        (multi, process) = (own, getpid())
        return true
    }

    /// Runs jobs, which come in the order of their batches. When one fails for good, no job of its batch or a later one
    /// is wanted any more, but all before it are brought to their end: what is answered is a beginning of the list.
    /// - Parameter shouldContinue: asked every tenth of a second and before requests; false ends everything at once.
    /// - Returns: the first batch with a job that is not done (nil: all are), and why.
    func run(_ jobs: [Job], shouldContinue: () -> Bool) -> (unfinished: Int, problem: Problem)? {
        var plan = Plan(jobs)
        var active: [Transfer] = []
        defer { for transfer in active { curl_multi_remove_handle(multi, transfer.handle) } }
        guard leaveConnectionsOfParent() else {
            plan.fail(0, Problem(.io, "libcurl cannot be started"))
            return plan.failure
        }
        while true {
            guard shouldContinue() else {
                let unfinished = plan.firstUnfinished(active.map { $0.job.batch })
                plan.fail(unfinished, Problem(.cancelled, "the query was cancelled"))
                return plan.failure
            }
            while active.count < settings.concurrency, let job = plan.next(at: now()) {
                guard let problem = start(job, companions: plan.companions(of: job), &active) else { continue }
                plan.fail(job.batch, problem)
            }
            drop(from: plan.limit, &active)
            if active.isEmpty && plan.isDone { return plan.failure }
            wait(until: plan.nextStart, active.count < settings.concurrency)
            while let (handle, result) = finished() {
                guard let index = active.firstIndex(where: { $0.handle == handle }) else { continue }
                let transfer = active.remove(at: index)
                curl_multi_remove_handle(multi, handle)
                do throws(Problem) {
                    try transfer.finish(result, settings, log: log)
                } catch let problem {
                    repeatOrFail(transfer.job, problem, &plan)
                }
            }
        }
    }

    /// Sends a job's request, if the budget has room for those that are useless without it, too; the reason when it
    /// cannot be sent.
    private func start(_ job: Job, companions: Int, _ active: inout [Transfer]) -> Problem? {
        guard settings.budget == 0 || sent + companions < settings.budget else {
            return Problem(.cancelled, "the limit max_queries = \(settings.budget) leaves no room for more requests")
        }
        guard let transfer = Transfer(job, settings, headers: headers),
            curl_multi_add_handle(multi, transfer.handle) == CURLM_OK
        else { return Problem(.io, "libcurl cannot start another request") }
        job.attempts += 1
        sent += 1
        active.append(transfer)
        return nil
    }

    /// Gives up requests whose answers nobody wants any more.
    private func drop(from limit: Int, _ active: inout [Transfer]) {
        active.removeAll { transfer in
            guard transfer.job.batch >= limit else { return false }
            curl_multi_remove_handle(multi, transfer.handle)
            return true
        }
    }

    /// Lets libcurl work until something happens, a job may start (where there is a place for it), or a tick is over.
    private func wait(until start: Double?, _ hasPlace: Bool) {
        var running: Int32 = 0
        curl_multi_perform(multi, &running)
        let pause = hasPlace ? min(Self.tick, max(0, (start ?? .infinity) - now())) : Self.tick
        curl_multi_poll(multi, nil, 0, Int32(pause * 1000 + 1), nil)
        curl_multi_perform(multi, &running)
    }

    private func finished() -> (UnsafeMutableRawPointer, CURLcode)? {
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle else { continue }
            return (handle, message.pointee.data.result)
        }
        return nil
    }

    private func repeatOrFail(_ job: Job, _ problem: Problem, _ plan: inout Plan) {
        let attempts = job.attempts == 1 ? "" : " (after \(job.attempts) attempts)"
        guard problem.isTransient, job.attempts <= settings.retries else {
            return plan.fail(job.batch, Problem(problem.code, problem.message + attempts))
        }
        guard problem.wait <= Self.longestWait else {
            let asked = "; it asks to wait \(Int(problem.wait)) seconds, more than the \(Int(Self.longestWait)) allowed"
            return plan.fail(job.batch, Problem(problem.code, problem.message + attempts + asked))
        }
        let delay = max(problem.wait, backoff(job))
        log.debug("\(problem.message): repeated in \(Int(delay * 1000)) ms")
        plan.again(job, at: now() + delay, pausing: problem.slowsDown)
    }

    /// Seconds before the next attempt: doubled each time, of which a half is drawn by lot, so that requests that
    /// failed together do not come back together. The lot is the same in every run.
    private func backoff(_ job: Job) -> Double {
        var bits = UInt64(truncatingIfNeeded: job.batch &* 1009 &+ job.attempts) &* 0x9e37_79b9_7f4a_7c15
        bits = (bits ^ (bits >> 29)) &* 0xbf58_476d_1ce4_e5b9
        let lot = Double(bits >> 11) / Double(1 << 53)
        let doubled = settings.backoff * Double(1 << min(job.attempts - 1, 30))
        return min(doubled, Self.longestWait) * (0.5 + 0.5 * lot)
    }
}
