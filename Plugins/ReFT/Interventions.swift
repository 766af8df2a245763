import SeamPlugin

/// What the three methods have in common: at each point W, b and directions, and where in a text they act. Names are
/// those of pyreft.
struct Interventions {
    /// The rows of [rank, width] at each point: R, V or, of LoReFT in training, B.
    let directions: [Parameter]
    /// W [rank, width] and b [rank] of each point.
    private let weights, biases: [Parameter]
    private let positions: Positions

    var parameters: [Parameter] { weights + biases + directions }

    init(_ directions: [Parameter], _ positions: Positions) {
        (self.directions, self.positions) = (directions, positions)
        weights = directions.map {
            Parameter("learned_source.weight", $0.shape, Self.linear($0.shape[1]), point: $0.point)
        }
        biases = directions.map {
            Parameter("learned_source.bias", [$0.shape[0]], Self.linear($0.shape[1]), point: $0.point)
        }
    }

    /// With directions that start as a linear layer does.
    init(_ options: Options, _ site: Site) throws(PluginError) {
        let rank = try Self.rank(options, site)
        let directions = site.points.enumerated().map {
            Parameter("proj_layer.weight", [rank, $1.outputWidth], Self.linear($1.outputWidth), point: $0)
        }
        self.init(directions, try Positions(options, site))
    }

    /// As torch.nn.Linear starts: Kaiming uniform with a = sqrt 5.
    private static func linear(_ width: Int) -> Parameter.Initial {
        let bound = 1 / Double(width).squareRoot()
        return .uniform(from: -bound, to: bound)
    }

    static func rank(_ options: Options, _ site: Site) throws(PluginError) -> Int {
        let rank = try options.int("rank")
        let width = site.points.reduce(Int.max) { min($0, $1.outputWidth) }
        guard rank <= width else {
            throw PluginError(
                .invalidArgument,
                "the option 'rank' must be at most \(width), the width of the hidden states, found \(rank)")
        }
        return rank
    }

    /// The values of W and b, in the order of `parameters`.
    func sources(in context: Context) -> [Tensor] { (weights + biases).map { context[$0] } }

    /// h + D^T (W h + b - D h), or without D h, where positions are chosen.
    /// - Parameter given: D [rank, width]; nil: the point's own directions.
    func changed(
        _ hidden: Tensor, towards given: Tensor? = nil, subtracting: Bool, in context: Context
    ) -> Tensor {
        let directions = given ?? context[directions[context.point]]
        let weight = context[weights[context.point]]
        let moved = hidden.linear(subtracting ? weight - directions : weight, context[biases[context.point]])
        let changed = hidden + moved.matmul(directions)
        guard let chosen = positions.chosen(of: hidden, in: context) else { return changed }
        return chosen.select(changed, else: hidden)
    }

    static var options: [Option] {
        [
            .int("rank", default: "4", in: 1...65536, "Directions of the space that hidden states are moved in."),
            .string(
                "positions", default: "\"all\"",
                """
                Tokens that are changed: all, the first p as f3, the last s as l3, or both as f3+l3. The last ones in \
                a decoder are those of the prompt.
                """),
        ]
    }
}

/// Which tokens of a text are changed, as pyreft writes it: "f3+l2" are the first three and the last two.
struct Positions {
    /// How many; both nil: all tokens.
    private let first, last: Int?
    /// Of each point, whether its states are an encoder's, which sees whole texts.
    private let isEncoder: [Bool]

    init(_ options: Options, _ site: Site) throws(PluginError) {
        let text = try options.string("positions")
        var counts: (first: Int?, last: Int?) = (nil, nil)
        if !(text == "all") {
            for part in text.utf8.split(separator: UInt8(ascii: "+"), omittingEmptySubsequences: false) {
                let count = Self.number(part.dropFirst())
                switch (part.first, count) {
                case (UInt8(ascii: "f"), .some) where counts.first == nil: counts.first = count
                case (UInt8(ascii: "l"), .some) where counts.last == nil: counts.last = count
                default:
                    throw PluginError(
                        .invalidArgument,
                        "the option 'positions' must be all, or f and l with a number each, such as f3, l1 or f3+l1, "
                            + "found '\(text)'")
                }
            }
        }
        isEncoder = site.points.map { $0.stack == .encoder }
        (first, last) = counts
    }

    /// 1 to 999999, written in digits.
    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        let zero = UInt8(ascii: "0")
        guard (1...6).contains(digits.count), digits.allSatisfy({ $0 >= zero && $0 <= zero + 9 }) else { return nil }
        let value = digits.reduce(0) { $0 * 10 + Int($1 - zero) }
        return value > 0 ? value : nil
    }

    /// Of hidden [batch, n, width], 1 where a token is changed, [batch, n, 1] i32; nil: all are.
    func chosen(of hidden: Tensor, in context: Context) -> Tensor? {
        if first == nil && last == nil { return nil }
        let (batch, length) = (hidden.size(0), hidden.size(1))
        let mask = context.attentionMask?.cast(to: .f32) ?? context.full(1, [batch, length])
        let places = context.constant((0..<max(length, 0)).map { Float($0) }, [1, max(length, 0)])
        // Padding stands before the tokens or behind them: the place of the first one.
        let begin = (mask * places.affine(scale: -1, shift: Double(length))).max(-1, keep: true)
            .affine(scale: -1, shift: Double(length))
        var chosen = context.full(0, [1, 1])
        if let first {
            // A decoder that goes on with a text sees its newest tokens alone.
            let known = isEncoder[context.point] ? nil : context.positions?.cast(to: .f32)
            chosen = chosen.maximum(below(known ?? places - begin, first))
        }
        if let last {
            let given = given(of: mask, in: context)
            let end = (given * (places + 1)).max(-1, keep: true)
            chosen = chosen.maximum(below(end - places - 1, last) * given)
        }
        return (chosen * mask).cast(to: .i32).reshape([batch, length, 1])
    }

    /// Of a mask of tokens, those that the text was given with: all of an encoder's, and of a decoder's those that it did
    /// not generate, since what it will say has no end yet.
    private func given(of mask: Tensor, in context: Context) -> Tensor {
        if isEncoder[context.point] { return mask }
        guard let generated = context.generatedMask else {
            return context.fail(
                .unsupported,
                "the option 'positions' chooses the last tokens of a prompt, and where the prompt of a decoder ends is "
                    + "known in generation and from labels: this call has none")
        }
        return mask * generated.cast(to: .f32).affine(scale: -1, shift: 1)
    }

    /// 1 where a whole number is less than `limit`, else 0.
    private func below(_ numbers: Tensor, _ limit: Int) -> Tensor {
        let room = numbers.affine(scale: -1, shift: Double(limit)).relu()
        return room.minimum(room.affine(scale: 0, shift: 1))
    }
}
