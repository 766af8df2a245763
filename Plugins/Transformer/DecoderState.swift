import SeamPlugin

/// What the decoder remembers between steps: for every layer the keys and values of the target so far,
/// and, with an encoder, those of the source, computed at the first step. The target's mask is the host's.
final class DecoderState: DecodingState {
    /// Tokens held: those of a prefix and the target's.
    private(set) var position = 0
    /// Of a prefix; nil before the first step.
    private(set) var prefixLength: Int?
    let capacity: Int
    let angles = Angles()
    private let layers: [Cache]
    /// Of the source, with its mask; empty before the first step.
    private var sources: [Cache] = []
    private var sourceMask: Buffer?
    private var sourceLength = 0
    /// Which row of the first step's source each row now decodes.
    private var origins: [Int32]

    /// Nil when the host could not give the memory.
    init?(batch: Int, capacity: Int, _ stack: Family.Stack, headDim: Int, in context: Context) {
        self.capacity = capacity
        origins = (0..<Int32(batch)).map { $0 }
        var layers: [Cache] = []
        for _ in 0..<stack.layers {
            guard let cache = Cache([batch, stack.keyValueHeads, capacity, headDim], in: context) else { return nil }
            layers.append(cache)
        }
        self.layers = layers
    }

    /// Adds a step's keys and values of one layer; gives those of the whole prefix.
    func extend(_ layer: Int, by new: KeysValues, count: Int, in context: Context) -> KeysValues {
        layers[layer].write(new, at: position)
        return layers[layer].read(position + count, in: context)
    }

    /// Ends a step of `count` tokens.
    func advance(by count: Int) { position += count }

    /// Whether it has seen the first step.
    var hasBegun: Bool { prefixLength != nil }

    /// Keeps a prefix and the source's mask, at the first step.
    func begin(_ prefix: Prefix?, sourceMask mask: Tensor?, in context: Context) {
        if let prefix {
            for (index, cache) in layers.enumerated() { cache.write(prefix.layer(index), at: 0) }
        }
        position = prefix?.length ?? 0
        prefixLength = position
        guard let mask else { return }
        sourceLength = mask.size(1)
        sourceMask = context.buffer(mask.shape, .i32)
        sourceMask?.write(mask, axis: 0, at: 0)
    }

    /// Keeps the source's keys and values of the next layer, at the first step.
    func remember(_ memory: KeysValues, in context: Context) {
        guard let cache = Cache(memory.keys.shape, in: context) else { return }
        cache.write(memory, at: 0)
        sources.append(cache)
    }

    /// The source's keys and values of one layer, at later steps; nil before they are kept.
    func memory(_ layer: Int, in context: Context) -> KeysValues? {
        layer < sources.count ? sources[layer].read(sourceLength, in: context) : nil
    }

    /// The source's mask, at later steps; nil at the first.
    func mask(in context: Context) -> Tensor? {
        sourceMask?.read(axis: 1, length: sourceLength, in: context)
    }

    func select(_ rows: UnsafeBufferPointer<Int32>, in context: Context) {
        guard rows.allSatisfy({ origins.indices.contains(Int($0)) }) else {
            _ = context.fail(
                .invalidArgument, "the decoding state has \(origins.count) rows and was asked for one beyond them")
            return
        }
        for cache in layers { cache.select(rows, in: context) }
        // Beams of one sentence share their source: when a step only exchanges them, the source's keys and
        // values, the larger part of the memory, stay where they are.
        let selected = rows.map { origins[Int($0)] }
        if selected != origins {
            for cache in sources { cache.select(rows, in: context) }
            sourceMask?.select(rows, in: context)
            origins = selected
        }
    }

    /// Keys and values that outlive a step, positions along axis 2.
    private struct Cache {
        private let keys, values: Buffer

        init?(_ shape: [Int], in context: Context) {
            guard let keys = context.buffer(shape), let values = context.buffer(shape) else { return nil }
            (self.keys, self.values) = (keys, values)
        }

        func write(_ new: KeysValues, at position: Int) {
            keys.write(new.keys, axis: 2, at: position)
            values.write(new.values, axis: 2, at: position)
        }

        func read(_ length: Int, in context: Context) -> KeysValues {
            KeysValues(
                keys: keys.read(axis: 2, length: length, in: context),
                values: values.read(axis: 2, length: length, in: context))
        }

        func select(_ rows: UnsafeBufferPointer<Int32>, in context: Context) {
            keys.select(rows, in: context)
            values.select(rows, in: context)
        }
    }
}
