import SeamPlugin

/// One request of many, and what becomes of its reply.
class Job {
    let url: String
    let body: RequestBody
    /// Requests of the same rows share it; lower ones come first.
    let batch: Int
    /// How often it was sent.
    var attempts = 0

    init(url: String, body: RequestBody, batch: Int) {
        (self.url, self.body, self.batch) = (url, body, batch)
    }

    /// Keeps what the reply says, or throws why it is not what was asked for.
    func accept(_ root: Node) throws(Problem) {}
}

/// The words that a query asks for.
final class Answers {
    let words: [[UInt8]]
    /// Which of them some reply has listed.
    var areListed: [Bool]

    init(_ texts: [Text]) {
        words = texts.map { $0.utf8 }
        areListed = texts.map { _ in false }
    }
}

/// Scores of some prompts.
final class CompletionJob: Job {
    private let query: Query
    private let rows: Range<Int>
    private let answers: Answers
    private let allowsPrefixes: Bool

    init(
        _ query: Query, _ rows: Range<Int>, _ answers: Answers, batch: Int, _ settings: Settings
    ) throws(Problem) {
        (self.query, self.rows, self.answers) = (query, rows, answers)
        allowsPrefixes = settings.allowsPrefixes
        let body = try RequestBody.completion(query.prompts[rows], model: settings.model, logprobs: settings.logprobs)
        super.init(url: settings.completions, body: body, batch: batch)
    }

    override func accept(_ root: Node) throws(Problem) {
        let found = try candidates(root, count: rows.count, from: url)
        for (row, next) in zip(rows, found) {
            let scores = next.scores(of: answers.words, allowsPrefixes: allowsPrefixes)
            query.setScores(row, scores.map { $0.score })
            for (index, each) in scores.enumerated() where each.isListed { answers.areListed[index] = true }
        }
    }
}

/// Hidden states of some prompts.
final class EmbeddingJob: Job {
    private let query: Query
    private let rows: Range<Int>
    private let width: Int

    init(_ query: Query, _ rows: Range<Int>, batch: Int, _ settings: Settings, width: Int) throws(Problem) {
        (self.query, self.rows, self.width) = (query, rows, width)
        let body = try RequestBody.embedding(query.prompts[rows], model: settings.embeddingModel)
        super.init(url: settings.embeddings, body: body, batch: batch)
    }

    override func accept(_ root: Node) throws(Problem) {
        let found = try vectors(root, count: rows.count, width: width, from: url)
        for (row, vector) in zip(rows, found) { query.setHidden(row, vector) }
    }
}

/// How long the server's vectors are.
final class WidthJob: Job {
    private(set) var width = 0

    init(_ settings: Settings) throws(Problem) {
        let body = try RequestBody.embedding([Text("Hello")], model: settings.embeddingModel)
        super.init(url: settings.embeddings, body: body, batch: 0)
    }

    override func accept(_ root: Node) throws(Problem) {
        width = try vectors(root, count: 1, width: nil, from: url)[0].count
    }
}
