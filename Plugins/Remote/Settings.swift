import SeamPlugin

/// What the options and the environment say, checked.
struct Settings {
    /// Whether hidden states are asked for; else each is one zero.
    let wantsHidden: Bool
    let completions: String
    let embeddings: String
    let model: String
    let embeddingModel: String
    /// How many of the most likely tokens a completion is asked for.
    let logprobs: Int
    /// Whether a word is scored by a token that it only starts with.
    let allowsPrefixes: Bool
    /// Requests under way at the same time, at most.
    let concurrency: Int
    /// Prompts in one request.
    let batchSize: Int
    /// Seconds for one request.
    let timeout: Double
    /// How often a request is repeated, at most.
    let retries: Int
    /// Requests of the backbone's whole life; 0: no limit.
    let budget: Int
    /// Seconds before the first repetition.
    let backoff: Double
    let secret: Secret?

    init(_ options: Options, log: HostLog) throws(PluginError) {
        wantsHidden = try options.string("hidden") == "embeddings"
        let (base, isOpenAIs) = try Self.base(try options.string("base_url"))
        let other = try options.string("embeddings_url")
        let second = other.cString.pointee == 0 ? base : try Address(other, name: "the option 'embeddings_url'")
        completions = base.appending("/completions")
        embeddings = second.appending("/embeddings")
        model = "\(try options.string("model"))"
        let named = try options.string("embedding_model")
        embeddingModel = named.cString.pointee == 0 ? model : "\(named)"
        logprobs = try options.int("logprobs")
        allowsPrefixes = try options.string("match") == "prefix"
        concurrency = try options.int("concurrency")
        batchSize = try options.int("batch_size")
        timeout = try options.double("timeout")
        retries = try options.int("max_retries")
        budget = try options.int("max_queries")
        backoff = try options.double("backoff")
        secret = try Secret(variable: try options.string("api_key_env"), allowsOpenAI: isOpenAIs)
        for address in [base, second] where secret != nil && !address.isEncrypted && !address.isLoopback {
            log.warning("the API key and the prompts are sent unencrypted to \(address.appending(""))")
            break
        }
    }

    /// The base URL, and whether OPENAI_API_KEY belongs to it: a key must not go to a server only because both happen
    /// to be set.
    private static func base(_ option: Text) throws(PluginError) -> (Address, isOpenAIs: Bool) {
        if option.cString.pointee != 0 {
            let address = try Address(option, name: "the option 'base_url'")
            return (address, address.isHost("api.openai.com"))
        }
        if let value = environment("SEAM_BASE_URL") {
            let address = try Address(value, name: "the environment variable SEAM_BASE_URL")
            return (address, address.isHost("api.openai.com"))
        }
        if let value = environment("OPENAI_BASE_URL") {
            return (try Address(value, name: "the environment variable OPENAI_BASE_URL"), true)
        }
        throw PluginError(
            .invalidArgument,
            "no server is named: set the option 'base_url' (http://127.0.0.1:8080/v1) or the environment variable "
                + "SEAM_BASE_URL or OPENAI_BASE_URL")
    }

    static var declared: [Option] {
        [
            .string(
                "base_url", default: "\"\"",
                "URL of the API up to /v1; empty: the environment's SEAM_BASE_URL, then OPENAI_BASE_URL."),
            .string(
                "embeddings_url", default: "\"\"",
                "The same for embeddings, where another server has them; empty: base_url."),
            .string("model", default: "\"\"", "Name of the model; empty: none is sent, for a server that has one."),
            .string("embedding_model", default: "\"\"", "Name of the model for embeddings; empty: model."),
            .string(
                "hidden", default: "\"embeddings\"", choices: "embeddings|none",
                """
                embeddings: a prompt's hidden state is its embedding; none: it is a single zero, and no embedding is \
                asked for.
                """),
            .int(
                "logprobs", default: "100", in: 1...1_000_000,
                """
                How many most likely tokens to ask for; a word that is not among them gets the score of the last one, \
                an upper bound of its own.
                """),
            .string(
                "match", default: "\"whole\"", choices: "whole|prefix",
                """
                whole: the token of a word is the word itself; prefix: the longest listed token that the word starts \
                with, for words of several tokens, at the price of too high scores of words that are not listed.
                """),
            .int("concurrency", default: "4", in: 1...256, "Requests under way at the same time, at most."),
            .int("batch_size", default: "1", in: 1...2048, "Prompts in one request, where the server takes lists."),
            .double("timeout", default: "60", in: 0.01...86400, "Seconds that one request may take."),
            .int(
                "max_retries", default: "4", in: 0...100,
                "How often a request is repeated after a passing failure, at most."),
            .double(
                "backoff", default: "0.5", in: 0...3600,
                "Seconds before the first repetition; each later one waits longer."),
            .int(
                "max_queries", default: "0", in: 0...1e15,
                """
                Requests in the backbone's whole life, at most, repeated ones and the one at its opening included; 0: \
                any number.
                """),
            .string(
                "api_key_env", default: "\"\"",
                """
                Name of the environment variable that holds the API key; empty: SEAM_API_KEY, then, for \
                api.openai.com and OPENAI_BASE_URL, OPENAI_API_KEY.
                """),
        ]
    }
}
