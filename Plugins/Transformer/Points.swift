import SeamPlugin

/// The layer of a model that a part belongs to.
struct LayerPlace {
    let stack: Point.Stack
    /// From 0.
    let index: Int

    /// One of the layer's matrices, by the name of its point.
    func projection(_ name: StaticString, parts: [Point.Part] = []) -> ProjectionPlace {
        ProjectionPlace(layer: self, name: name, parts: parts)
    }
}

/// Where in a model a matrix stands, for the points that a backbone lists.
struct ProjectionPlace {
    let layer: LayerPlace
    let name: StaticString
    /// Of its output, where it does the work of several.
    let parts: [Point.Part]
}

/// What the projections of an attention are called.
struct AttentionPoints {
    let query, key, value, output: StaticString

    /// Over the stack's own tokens.
    static let own = AttentionPoints(query: "q", key: "k", value: "v", output: "o")
    /// Of a decoder's tokens over the encoder's.
    static let cross = AttentionPoints(query: "cross_q", key: "cross_k", value: "cross_v", output: "cross_o")
}

// What flows through the points of a pass: the tokens of a source or of a target. Where nobody wants a point, the
// context stays as it is and nothing is made.
extension Context {
    /// For what an encoder computes.
    func visiting(_ source: Source) -> Context {
        guard let visitor = source.visitor else { return self }
        return visiting(visitor, mask: source.mask, positions: positions(like: source.ids, from: 0))
    }

    /// For what a decoder computes of its own tokens, behind `seen` others of the target; nil: each row has seen another
    /// number, and all of these are tokens.
    func visiting(_ target: Target, after seen: Int?) -> Context {
        guard let visitor = target.visitor else { return self }
        let (batch, count) = (target.ids.size(0), target.ids.size(1))
        let own = seen.flatMap { seen in target.mask?.slice(1, from: seen, length: count) }
        return visiting(
            visitor, mask: own ?? full(1, [batch, count], .i32),
            positions: target.positions ?? positions(like: target.ids, from: seen ?? 0))
    }

    /// For what a decoder computes of the encoder's output: the keys and values of cross-attention. A decoding state's
    /// later steps have them already.
    func visitingSource(of target: Target) -> Context {
        guard let visitor = target.visitor, let mask = target.encoderMask, target.encoder != nil else { return self }
        return visiting(visitor, mask: mask, positions: positions(like: mask, from: 0))
    }

    /// `first`, `first` + 1 ... in every row of a tensor [batch, n].
    private func positions(like rows: Tensor, from first: Int) -> Tensor {
        let (batch, count) = (rows.size(0), max(rows.size(1), 0))
        return constant((first..<first + count).map { Int32($0) }, [1, count]).expand([batch, count])
    }
}
