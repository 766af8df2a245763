import CSeam
import Engine
import Generation
import SeamHost
import Support
import Trainer

// What the opaque pointers of client.h point at: retained boxes that hold what they were made from, so that the order
// of releases does not matter.

/// Strings that the caller may read as long as an object lives, one copy each. Every object has its own: they may be
/// used on several threads at once.
final class LentStrings {
    private var strings: [TextKey: UnsafeMutablePointer<CChar>] = [:]

    deinit { for (_, string) in strings { string.deallocate() } }

    func lend(_ text: String) -> UnsafePointer<CChar> {
        if let known = strings[TextKey(text)] { return UnsafePointer(known) }
        let copy = copyCString(text)
        strings[TextKey(text)] = copy
        return UnsafePointer(copy)
    }
}

final class RuntimeHandle {
    let runtime: Runtime
    let strings = LentStrings()

    init(_ runtime: Runtime) { self.runtime = runtime }
}

final class BackboneHandle {
    let owner: RuntimeHandle
    let backbone: Backbone

    init(_ backbone: Backbone, owner: RuntimeHandle) { (self.backbone, self.owner) = (backbone, owner) }
}

final class AdapterHandle {
    let owner: BackboneHandle
    let adapter: Adapter
    let strings = LentStrings()

    init(_ adapter: Adapter, owner: BackboneHandle) {
        self.adapter = adapter
        self.owner = owner
    }

    /// Whether the backbone was trained with it; what an engine of the caller's runs is taken for what it was made for.
    var trainsBackbone: Bool {
        owner.backbone.factory == nil ? !adapter.backboneFrozen : owner.backbone.isTrained
    }
}

final class SessionHandle {
    let owner: BackboneHandle
    let session: Session
    let strings = LentStrings()
    /// Present from begin_training to end_training.
    var training: Optimisation?

    init(_ owner: BackboneHandle) {
        self.owner = owner
        session = Session(backbone: owner.backbone)
    }

    deinit { training?.end() }

    func refuseWhileTraining(_ action: String) throws {
        guard training == nil else {
            throw SeamError(.invalidArgument, "an adapter cannot be \(action) during training: end the training first")
        }
    }
}

final class SequencesHandle {
    /// One block for all tokens, so that lent pointers stay put.
    private let tokens: UnsafeMutablePointer<Int32>
    private let places: [[(start: Int, length: Int, score: Double)]]
    /// Of the first item's sequences, where they are parts of a sound.
    let times: [(start: Double, end: Double)]

    /// The parts of one sound.
    convenience init(_ segments: [SpeechSegment]) {
        self.init(
            [segments.map { GeneratedSequence(tokens: $0.tokens, score: $0.score, tokenLogProbabilities: []) }],
            times: segments.map { ($0.start, $0.end) })
    }

    init(_ items: [[GeneratedSequence]], times: [(start: Double, end: Double)] = []) {
        self.times = times
        let total = items.joined().reduce(0) { $0 + $1.tokens.count }
        let block = UnsafeMutablePointer<Int32>.allocate(capacity: max(total, 1))
        var start = 0
        places = items.map { sequences in
            sequences.map { sequence in
                (block + start).update(from: sequence.tokens, count: sequence.tokens.count)
                defer { start += sequence.tokens.count }
                return (start, sequence.tokens.count, Double(sequence.score))
            }
        }
        tokens = block
    }

    deinit { tokens.deallocate() }

    func count(_ item: Int) -> Int { places.indices.contains(item) ? places[item].count : 0 }

    func sequence(_ item: Int, _ index: Int) -> (tokens: UnsafePointer<Int32>, length: Int, score: Double)? {
        guard places.indices.contains(item), places[item].indices.contains(index) else { return nil }
        let place = places[item][index]
        return (UnsafePointer(tokens + place.start), place.length, place.score)
    }
}

// MARK: Crossing the border

/// A pointer that the caller owns, until `release`.
func handOver(_ object: AnyObject) -> OpaquePointer { OpaquePointer(Unmanaged.passRetained(object).toOpaque()) }

func object<Object: AnyObject>(_ handle: OpaquePointer?, _ name: String, as type: Object.Type = Object.self) throws
    -> Object
{
    Unmanaged<Object>.fromOpaque(UnsafeRawPointer(try required(handle, name))).takeUnretainedValue()
}

func release<Object: AnyObject>(_ handle: OpaquePointer?, _ type: Object.Type) {
    guard let handle else { return }
    Unmanaged<Object>.fromOpaque(UnsafeRawPointer(handle)).release()
}
