import CSeam
import SeamPlugin

/// A model served over OpenAI's HTTP API, or any server's that speaks it (llama.cpp, vLLM). It is asked for the most
/// likely tokens after a prompt (/completions) and for the prompt's hidden state (/embeddings); nothing is computed
/// here. What is sent and what it costs is told in docs/remote.md.
final class Remote: TextBackbone {
    private let settings: Settings
    private let client: HTTPClient
    private let log: HostLog
    let info: BackboneInfo

    convenience init(options: Options, log: HostLog) throws(PluginError) {
        let settings = try Settings(options, log: log)
        var info = BackboneInfo(family: "remote")
        let client: HTTPClient
        do throws(Problem) {
            client = try HTTPClient(settings, log: log)
            info.dModel = settings.wantsHidden ? try Self.width(client, settings) : 1
        } catch let problem {
            throw problem.pluginError
        }
        self.init(settings, client, log, info)
    }

    private init(_ settings: Settings, _ client: HTTPClient, _ log: HostLog, _ info: BackboneInfo) {
        (self.settings, self.client, self.log, self.info) = (settings, client, log, info)
    }

    /// The addresses and names, and how far down the list of likely tokens answers are looked for.
    var identity: String {
        let hidden = settings.wantsHidden ? "\(settings.embeddings) \(settings.embeddingModel)" : "no hidden states"
        return "\(settings.completions) \(settings.model) \(settings.logprobs) \(hidden)"
    }

    /// How long hidden states are: only an embedding tells.
    private static func width(_ client: HTTPClient, _ settings: Settings) throws(Problem) -> Int {
        let job = try WidthJob(settings)
        if let failure = client.run([job], shouldContinue: { true }) { throw failure.problem }
        return job.width
    }

    func answer(_ query: Query) throws(PluginError) {
        let before = client.sent
        do throws(Problem) {
            let answers = Answers(query.answers)
            let jobs = try makeJobs(query, answers)
            let failure = client.run(jobs, shouldContinue: { query.shouldContinue() })
            query.requests = client.sent - before
            query.answered = failure.map { $0.unfinished * settings.batchSize } ?? query.prompts.count
            tell(of: answers, query)
            if let failure { throw failure.problem }
        } catch let problem {
            throw problem.pluginError
        }
    }

    /// Warns of answers that were in none of many replies: a word of several tokens never is.
    private func tell(of answers: Answers, _ query: Query) {
        guard query.answered >= 10 else { return }
        for (answer, isListed) in zip(query.answers, answers.areListed) where !isListed {
            log.warning(
                "no reply lists a token for the answer \"\(answer)\", so that its scores are bounds only: ask for more "
                    + "logprobs, or set match to prefix if the word has several tokens")
        }
    }

    private func makeJobs(_ query: Query, _ answers: Answers) throws(Problem) -> [Job] {
        var jobs: [Job] = []
        let count = query.prompts.count
        for start in stride(from: 0, to: count, by: settings.batchSize) {
            let (rows, batch) = (start..<min(start + settings.batchSize, count), start / settings.batchSize)
            jobs.append(try CompletionJob(query, rows, answers, batch: batch, settings))
            if settings.wantsHidden {
                jobs.append(try EmbeddingJob(query, rows, batch: batch, settings, width: info.dModel))
            } else {
                for row in rows { query.setHidden(row, [0]) }
            }
        }
        return jobs
    }
}

extension Remote {
    static var descriptor: BackboneDescriptor {
        BackboneDescriptor(
            id: "remote", summary: "A model behind an OpenAI-compatible HTTP API, asked for scores of words.",
            options: Settings.declared)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.remote", version: "1.0.0", license: "Apache-2.0",
    summary: "A backbone for models served over the OpenAI-compatible HTTP API.",
    backbones: [BackboneFactory(Remote.self) { Remote.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
