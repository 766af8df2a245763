import CMath
import SeamPlugin

/// The places of a pass's tokens in their sequences.
struct Places {
    /// The place of the first token; where rows differ the largest.
    let start: Int
    /// The first place of each row, where they differ.
    let starts: [Int]?
    let count: Int
    /// How many tokens a decoding state has before them.
    let seen: Int
    /// How many of them no token has: vectors that adapters put before the text.
    let vectors: Int
    /// [batch, count] i32; nil: `start`, `start` + 1 ... in every row.
    let given: Tensor?
    /// The tokens came with positions of their own.
    let arePlaced: Bool

    /// A text's `length` tokens, with the vectors before them, that follow `seen` others behind the prefix of their row.
    init(
        of length: Int, after seen: Int, behind prefix: PrefixLengths, _ tokens: EmbeddedTokens, in context: Context
    ) {
        vectors = max(tokens.x.size(1) - length, 0)
        let (count, given) = (length + vectors, tokens.positions)
        (self.count, self.seen, arePlaced) = (count, seen, given != nil)
        start = prefix.longest + seen
        starts = prefix.byRow?.map { $0 + seen }
        if let lengths = prefix.byRow {
            let own =
                given?.cast(to: .f32) ?? context.constant((seen..<seen + count).map { Float($0) }, [1, count])
            let before = context.constant(lengths.map { Float($0) }, [lengths.count, 1])
            self.given = (own + before).cast(to: .i32)
        } else if let given, prefix.longest > 0 {
            self.given = (given.cast(to: .f32) + Double(prefix.longest)).cast(to: .i32)
        } else {
            self.given = given
        }
    }
}

/// Why a text of `length` tokens behind a prefix of `start` and so many vectors is refused: the end of a sentence.
func tooLong(_ length: Int, _ start: Int, vectors: Int, _ limit: Int, _ verb: StaticString) -> String {
    let prefix = start > 0 ? " behind a prefix of \(start)" : ""
    let prompt = vectors > 0 ? "\(start > 0 ? " and" : " behind") a learned prompt of \(vectors)" : ""
    return "has \(length) tokens\(prefix)\(prompt) and this model \(verb) at most \(limit)"
}

/// Vectors by position that are added to the embeddings of one stack.
struct PositionTable {
    private let table: Parameter
    /// Rows before that of the first position.
    private let offset: Int
    /// Counts the tokens that are not this one, instead of all.
    private let padding: Int?

    /// Nil for a family that has no such vectors.
    init?(_ weights: Weights, _ name: String, _ family: Family) {
        let width = family.embeddingProjection?.positionsBehind ?? false ? family.dModel : family.embeddingWidth
        let shape = [family.targetLimit, width]
        switch family.positions {
        case .learned(let limit, let offset):
            (self.offset, padding) = (offset, nil)
            table = weights.parameter(name, [limit + offset, width])
        case .learnedByToken(let limit, let padding):
            (offset, self.padding) = (padding + 1, padding)
            table = weights.parameter(name, [limit + padding + 1, width])
        case .sinusoidal:
            (offset, padding) = (0, nil)
            // Some files have the table and some leave it to be computed.
            table =
                weights.has(name)
                ? weights.parameter(name, shape, frozen: true)
                : weights.constant(name, shape, sinusoids(family.targetLimit, width))
        case .sinusoidalByToken(let limit, let padding):
            (offset, self.padding) = (padding + 1, padding)
            let rows = limit + padding + 1
            table = weights.constant(name, [rows, width], sinusoidsByToken(rows, width, padding: padding))
        case .relative, .rotary, .none:
            return nil
        }
    }

    /// [count, d_model] or [batch, count, d_model] for the tokens `ids` [batch, n] and the vectors before them.
    func callAsFunction(_ ids: Tensor, at places: Places, in context: Context) -> Tensor {
        let table = context[table]
        if let padding, places.vectors == 0, !places.arePlaced {
            return table.embedding(counted(ids, padding, from: places.starts ?? [places.start], in: context))
        }
        if let given = places.given {
            return table.embedding(offset == 0 ? given : (given.cast(to: .f32) + Double(offset)).cast(to: .i32))
        }
        let first = places.start + offset
        return table.embedding(context.constant((first..<first + places.count).map { Int32($0) }, [places.count]))
    }

    /// The positions of a text's tokens `ids` [batch, n] as the family counts them, from 0, [batch, n] i32.
    func numbers(of ids: Tensor, in context: Context) -> Tensor {
        if let padding {
            return (counted(ids, padding, from: [0], in: context).cast(to: .f32) - Double(offset)).cast(to: .i32)
        }
        let count = ids.size(1)
        return context.constant((0..<max(count, 0)).map { Int32($0) }, [1, count]).expand([ids.size(0), count])
    }

    /// For each token how many before it and including it are not `padding`, plus the row's start, or that of all, and
    /// `padding`; for padding `padding`.
    private func counted(_ ids: Tensor, _ padding: Int, from starts: [Int], in context: Context) -> Tensor {
        // Ids and counts are far below 2^24, so f32 holds them exactly.
        let isToken = (ids.cast(to: .f32) - Double(padding)).abs().minimum(context.full(1, []))
        let within = isToken.runningSum(in: context)
        let count =
            starts.count == 1
            ? within + Double(starts[0]) : within + context.constant(starts.map { Float($0) }, [starts.count, 1])
        return (count * isToken + Double(padding)).cast(to: .i32)
    }
}

/// The table of Vaswani et al. 2017 as Marian lays it out: the sines of all frequencies in the first half
/// of a row, the cosines in the second.
private func sinusoids(_ positions: Int, _ width: Int) -> [Float] {
    let sines = (width + 1) / 2
    var table: [Float] = []
    table.reserveCapacity(positions * width)
    for position in 0..<positions {
        for column in 0..<width {
            let index = column < sines ? column : column - sines
            let angle = Double(position) / pow(10_000, Double(2 * index) / Double(width))
            table.append(Float(column < sines ? sin(angle) : cos(angle)))
        }
    }
    return table
}

/// The table of tensor2tensor, which differs from that of Vaswani et al. 2017 in the largest wavelength; a row of zeros for
/// padding. In f32, as the models were trained.
private func sinusoidsByToken(_ positions: Int, _ width: Int, padding: Int) -> [Float] {
    let half = width / 2
    let step = Float(log(10_000.0) / Double(half - 1))
    let frequencies = (0..<half).map { expf(-Float($0) * step) }
    var table = [Float](repeating: 0, count: positions * width)
    for position in 0..<positions where position != padding {
        for (column, frequency) in frequencies.enumerated() {
            let angle = Float(position) * frequency
            table[position * width + column] = sinf(angle)
            table[position * width + half + column] = cosf(angle)
        }
    }
    return table
}
