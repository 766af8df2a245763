import Engine
import Files
import SeamHost
import Support

/// What the core and the plugins report, gathered.
public final class Log {
    public private(set) var lines: [(level: LogLevel, message: String)] = []
    public var warnings: [String] { lines.filter { $0.level == .warning }.map(\.message) }

    public init(_ runtime: Runtime) {
        runtime.log = { [weak self] level, message in self?.lines.append((level, message)) }
    }
}

/// A runtime with the plugins that `swift test` built beside the test program.
public func makeRuntime() throws -> Runtime {
    guard let folder = Runtime.ownFolder else {
        throw SeamError(.internal, "the test program does not know its folder")
    }
    let runtime = Runtime()
    try runtime.loadPlugins(searchPath: folder)
    return runtime
}

/// An open tiny model, and the folder that it was written to.
public struct OpenModel {
    public let scratch: ScratchFolder
    public let runtime: Runtime
    public let backbone: Backbone
    public var session: Session
    public var info: BackboneInfo { backbone.info }
    public var path: String { scratch["model"] }

    public init(_ model: TinyModel = TinyModel(.marian)) throws {
        scratch = try ScratchFolder()
        try model.write(to: scratch["model"])
        runtime = try makeRuntime()
        backbone = try Backbone(runtime: runtime, path: scratch["model"])
        session = Session(backbone: backbone)
    }

    /// Attaches a new adapter, made for what is attached already.
    @discardableResult
    public func attach(
        _ id: String = "repcali", _ options: JSON = .null, backboneFrozen: Bool = true, seed: UInt64 = 0
    ) throws -> Adapter {
        let adapter = try Adapter(
            backbone: backbone, id: id, options: options, backboneFrozen: backboneFrozen,
            prefixLength: session.prefixLength, seed: seed)
        try session.attach(adapter)
        return adapter
    }

    /// Random pairs or, for a model of one stack, texts.
    public func batch(_ count: Int = 4) throws -> Batch {
        let pairs = makePairs(count)
        guard info.architecture == .encoderDecoder else { return try Batch(sources: pairs.sources, info: info) }
        return try Batch(sources: pairs.sources, targets: pairs.targets, info: info)
    }

    /// The names of all projections, as an adapter's targets.
    public var projections: JSON {
        .array(Set(info.points.map(\.name)).subtracting([""]).sorted().map { .string($0) })
    }

    /// Scores of a batch with targets: [batch x target x vocabulary].
    public func logits(_ batch: Batch) throws -> [Float] {
        let context = session.makeContext(recordsGradients: false)
        return try context.contiguous(try session.forward(context, batch).logits).floats
    }
}

/// Pairs of random words and a final end token, ragged: the target is the source backwards, so there is something to
/// learn.
public func makePairs(_ count: Int, vocabulary: Int32 = 24, seed: UInt64 = 1) -> (
    sources: [[Int32]], targets: [[Int32]]
) {
    var random = SeededGenerator(seed: seed, stream: "pairs")
    let words: [[Int32]] = (0..<count).map { index in
        (0..<2 + index % 5).map { _ in Int32.random(in: TinyModel.firstWord..<vocabulary, using: &random) }
    }
    return (words.map { $0 + [TinyModel.end] }, words.map { $0.reversed() + [TinyModel.end] })
}

/// Overwrites a parameter with normal numbers of a deviation around a mean.
public func randomise(_ tensor: Tensor, mean: Double = 0, deviation: Double, seed: UInt64 = 7) {
    var random = SeededGenerator(seed: seed, stream: "randomise")
    tensor.assign((0..<tensor.elementCount).map { _ in Float(mean + deviation * random.normal()) })
}

/// The largest absolute difference; infinite for other counts.
public func distance(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    return zip(a, b).map { abs($0 - $1) }.max() ?? 0
}

/// Equal to the last bit.
public func bitEqual(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern }
}
