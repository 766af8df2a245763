import CSeam

/// A model that is asked with text and computes somewhere else, behind an HTTP API for example. It has scores of words
/// and one hidden state a prompt, which is what adapters of decoder.output read. `BackboneFactory` turns a conforming
/// type into the C table that the host reads.
public protocol TextBackbone: AnyObject {
    /// What users see. Read once, when the library is loaded.
    static var descriptor: BackboneDescriptor { get }

    /// Opens the model, or throws a sentence for the user. `log` may be kept.
    init(options: Options, log: HostLog) throws(PluginError)

    /// What the opened model is; `dModel` is the length of a hidden state. Read once, after `init`.
    var info: BackboneInfo { get }

    /// What tells the model apart from others: a server's address and the model's name there. Answers are kept on disk
    /// under it.
    var identity: String { get }

    /// Fills the rows of a query in any order and sets `answered` and `requests`, also before it throws: what was
    /// answered before a failure is not lost.
    func answer(_ query: Query) throws(PluginError)
}

/// Prompts, the words that may continue them, and the host's arrays for what is found. Valid during `answer`.
public final class Query {
    public let prompts: [Text]
    /// The words that may answer, with the space before them where there is one.
    public let answers: [Text]
    /// Rows that are filled, the first ones.
    public var answered = 0
    /// Requests that were sent, repeated ones included.
    public var requests = 0

    private let io: seam_query
    private let width: Int

    init(_ io: seam_query, width: Int) {
        (self.io, self.width) = (io, width)
        prompts = (0..<io.prompt_count).compactMap { io.prompts[$0].map { Text($0) } }
        answers = (0..<io.answer_count).compactMap { io.answers[$0].map { Text($0) } }
    }

    /// False when the user wants to stop; ask between requests, on the thread of `answer`.
    public func shouldContinue() -> Bool { io.should_continue.map { $0(io.user) != 0 } ?? true }

    /// The natural logarithms of the answers' probabilities after a prompt, one for each answer.
    public func setScores(_ row: Int, _ values: [Float]) {
        for (column, value) in values.enumerated() { io.scores[row * answers.count + column] = value }
    }

    /// The hidden state of a prompt, `dModel` values.
    public func setHidden(_ row: Int, _ values: [Float]) {
        for (column, value) in values.enumerated() { io.hidden[row * width + column] = value }
    }
}

/// The log in which a plugin reports what it does.
public struct HostLog {
    let host: UnsafePointer<seam_host>

    public func debug(_ message: String) { write(SEAM_LOG_DEBUG, message) }
    public func warning(_ message: String) { write(SEAM_LOG_WARNING, message) }

    private func write(_ level: Int, _ message: String) {
        message.withCString { host.pointee.log(host, seam_log_level(level), $0) }
    }
}

extension TextBackbone {
    /// The C side of `init`; see `BackboneFactory`.
    public static func create(
        _ host: UnsafePointer<seam_host>?, _ options: OpaquePointer?, _ model: OpaquePointer?,
        _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
    ) -> seam_status {
        guard let host = compatible(host), let options, let out else { return Status.incompatible.rawValue }
        do throws(PluginError) {
            guard model == nil else {
                throw PluginError(.invalidArgument, "this backbone opens no model folder: give none")
            }
            let options = Options(host: host, raw: options, kind: "the option")
            let backbone = try Self(options: options, log: HostLog(host: host))
            out.pointee = Unmanaged.passRetained(TextBackboneInstance(backbone, host)).toOpaque()
            return Status.ok.rawValue
        } catch let failure {
            return report(failure, host, error)
        }
    }
}

extension BackboneFactory {
    /// The C table of a text backbone:
    ///
    ///     BackboneFactory(Mine.self) { Mine.create($0, $1, $2, $3, $4) }
    public init<B: TextBackbone>(_ type: B.Type, create: Create) {
        var factory = B.descriptor.factory
        factory.create = create
        factory.destroy = { Unmanaged<TextBackboneInstance>.fromOpaque($0!).release() }
        factory.info = { TextBackboneInstance.at($0).describe($1!) }
        factory.parameter_count = { _ in 0 }
        factory.parameter = { _, _, _ in }
        factory.query = { TextBackboneInstance.at($0).query($1, $2) }
        table = permanent(factory)
    }
}

/// What the host holds as `self` of a text backbone.
final class TextBackboneInstance {
    private let backbone: any TextBackbone
    private let info: BackboneTable
    private let identity: UnsafeMutablePointer<CChar>
    /// Alive as long as its instances.
    private let host: UnsafePointer<seam_host>

    init(_ backbone: any TextBackbone, _ host: UnsafePointer<seam_host>) {
        self.backbone = backbone
        self.host = host
        var info = backbone.info
        (info.architecture, info.hasHead, info.seams) = (.text, false, [])
        self.info = BackboneTable(info)
        identity = copyCString(backbone.identity)
    }

    deinit { identity.deallocate() }

    static func at(_ pointer: UnsafeMutableRawPointer?) -> TextBackboneInstance {
        Unmanaged<TextBackboneInstance>.fromOpaque(pointer!).takeUnretainedValue()
    }

    func describe(_ out: UnsafeMutablePointer<seam_backbone_info>) {
        info.describe(out, kind: seam_backbone_kind(SEAM_BACKBONE_OPAQUE), identity: identity)
    }

    func query(_ io: UnsafeMutablePointer<seam_query>?, _ error: UnsafeMutablePointer<OpaquePointer?>?) -> seam_status {
        guard let io, let given = bounded(io, SEAM_QUERY_SIZE_1_0) else { return Status.incompatible.rawValue }
        let query = Query(given, width: info.info.dModel)
        defer { (io.pointee.answered, io.pointee.requests) = (query.answered, Int64(query.requests)) }
        do throws(PluginError) {
            try backbone.answer(query)
            return Status.ok.rawValue
        } catch let failure {
            return report(failure, host, error)
        }
    }
}
