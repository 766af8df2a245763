/// Which request comes next, and up to where answers are wanted.
struct Plan {
    /// Jobs that were never sent, the next one last.
    private var fresh: [Job]
    private var waiting: [(job: Job, start: Double)] = []
    /// Nothing starts before.
    private var pause = 0.0
    /// Jobs of this batch and later ones are not wanted any more.
    private(set) var limit = Int.max
    private var problem: Problem?

    init(_ jobs: [Job]) { fresh = jobs.reversed() }

    /// The first batch that is not answered, and why.
    var failure: (unfinished: Int, problem: Problem)? { problem.map { (limit, $0) } }

    /// Whether nothing is left to start.
    var isDone: Bool { fresh.isEmpty && waiting.isEmpty }

    /// When the next job may start; nil when there is none.
    var nextStart: Double? {
        if !fresh.isEmpty { return pause }
        return waiting.map { $0.start }.min().map { max($0, pause) }
    }

    /// Takes the job that starts at `time`: one that is due again, else the next fresh one.
    mutating func next(at time: Double) -> Job? {
        guard time >= pause else { return nil }
        let due = waiting.indices.filter { waiting[$0].start <= time }
        if let first = due.min(by: { waiting[$0].job.batch < waiting[$1].job.batch }) {
            return waiting.remove(at: first).job
        }
        return fresh.popLast()
    }

    /// How many jobs of the same batch were never sent.
    func companions(of job: Job) -> Int {
        fresh.reversed().prefix { $0.batch == job.batch }.count
    }

    /// Puts a job back until `start`; with `pausing` no other starts before, either.
    mutating func again(_ job: Job, at start: Double, pausing: Bool) {
        guard job.batch < limit else { return }
        waiting.append((job, start))
        if pausing { pause = max(pause, start) }
    }

    /// Gives up a batch and all behind it, unless an earlier one was given up before.
    mutating func fail(_ batch: Int, _ reason: Problem) {
        guard batch < limit else { return }
        (limit, problem) = (batch, reason)
        fresh.removeAll { $0.batch >= batch }
        waiting.removeAll { $0.job.batch >= batch }
    }

    /// The first batch with a job that is not done, given the batches of those under way.
    func firstUnfinished(_ active: [Int]) -> Int {
        (fresh.map { $0.batch } + waiting.map { $0.job.batch } + active + [limit]).min() ?? limit
    }
}
