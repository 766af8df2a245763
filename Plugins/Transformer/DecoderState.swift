import SeamPlugin

/// What the decoder remembers between steps: for every layer the keys and values of the target so far,
/// and, with an encoder, those of the source, computed at the first step. Masks and prefixes are the host's.
final class DecoderState: DecodingState {
    /// The most tokens that a row holds.
    private(set) var position = 0
    /// The tokens seen by each row, where they differ: its next token stands behind its own. Nil where all rows agree.
    private(set) var starts: [Int64]?
    private(set) var capacity: Int
    let angles = RotaryAngles()
    /// Padding may stand between the tokens of a row: behind vectors that adapters put before its text.
    var hasPaddingInside = false
    private let layers: [Cache]
    /// Of the source; empty before the first step. Shorter sources than the longest are padded.
    private var sources: [Cache] = []
    private var sourceLength = 0
    /// Which of the sources that were given each row decodes.
    private var origins: [Int]

    /// Nil when the host could not give the memory.
    init?(batch: Int, capacity: Int, _ stack: Family.Stack, headDim: Int, in context: Context) {
        self.capacity = capacity
        origins = Array(0..<batch)
        var layers: [Cache] = []
        for _ in 0..<stack.layers {
            guard let cache = Cache([batch, stack.keyValueHeads, capacity, headDim], in: context) else { return nil }
            layers.append(cache)
        }
        self.layers = layers
    }

    /// Adds a step's keys and values of one layer, each row's behind its own; gives all of them up to the longest row's.
    func extend(_ layer: Int, by new: KeysValues, count: Int, in context: Context) -> KeysValues {
        if let starts { layers[layer].write(new, at: starts) } else { layers[layer].write(new, at: position) }
        return layers[layer].read(position + count, in: context)
    }

    /// Ends a step of `count` tokens.
    func advance(by count: Int) {
        position += count
        starts = starts?.map { $0 + Int64(count) }
    }

    /// Keeps the source's keys and values of the next layer, at the first step.
    func remember(_ memory: KeysValues, in context: Context) {
        guard let cache = Cache(memory.keys.shape, in: context) else { return }
        sourceLength = memory.keys.size(2)
        cache.write(memory, at: 0)
        sources.append(cache)
    }

    /// The source's keys and values of one layer, at later steps; nil before they are kept.
    func memory(_ layer: Int, in context: Context) -> KeysValues? {
        layer < sources.count ? sources[layer].read(sourceLength, in: context) : nil
    }

    func select(_ rows: UnsafeBufferPointer<Int32>, in context: Context) {
        guard rows.allSatisfy({ origins.indices.contains(Int($0)) }) else {
            _ = context.fail(
                .invalidArgument, "the decoding state has \(origins.count) rows and was asked for one beyond them")
            return
        }
        for cache in layers { cache.select(rows, in: context) }
        if let starts { hold(rows.map { starts[Int($0)] }) }
        // Beams of one sentence share their source: when a step only exchanges them, the source's keys and
        // values, the larger part of the memory, stay where they are.
        let selected = rows.map { origins[Int($0)] }
        if selected != origins {
            for cache in sources { cache.select(rows, in: context) }
            origins = selected
        }
    }

    func append(_ other: any DecodingState, in context: Context) {
        let other = unsafeDowncast(other, to: DecoderState.self)
        guard position > 0, other.position > 0 else {
            _ = context.fail(.plugin, "rows of a decoding state were to join others before both have seen tokens")
            return
        }
        hold(counts + other.counts)
        hasPaddingInside = hasPaddingInside || other.hasPaddingInside
        capacity = max(capacity, other.capacity)
        sourceLength = max(sourceLength, other.sourceLength)
        for (cache, joining) in zip(layers + sources, other.layers + other.sources) {
            cache.append(joining, in: context)
        }
        let first = (origins.max() ?? -1) + 1
        origins += other.origins.map { first + $0 }
    }

    /// The tokens that each row holds.
    private var counts: [Int64] { starts ?? [Int64](repeating: Int64(position), count: origins.count) }

    /// Takes over how many tokens each row holds.
    private func hold(_ counts: [Int64]) {
        position = Int(counts.max() ?? Int64(position))
        starts = counts.allSatisfy { $0 == Int64(position) } ? nil : counts
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

        func write(_ new: KeysValues, at starts: [Int64]) {
            keys.write(new.keys, axis: 2, at: starts)
            values.write(new.values, axis: 2, at: starts)
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

        func append(_ other: Cache, in context: Context) {
            keys.append(other.keys, axis: 2, in: context)
            values.append(other.values, axis: 2, in: context)
        }
    }
}
