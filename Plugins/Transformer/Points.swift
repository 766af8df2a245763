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

/// The place of a matrix in a model, for the points that a backbone lists.
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
    /// For what a stack computes of its own tokens, the first of which is token `first` of the text.
    func visiting(_ visitor: Visitor?, _ tokens: EmbeddedTokens, at places: Places, from first: Int) -> Context {
        guard let visitor else { return self }
        let batch = tokens.x.size(0)
        return visiting(
            visitor, mask: tokens.mask ?? full(1, [batch, places.count], .i32),
            positions: tokens.positions ?? positions(batch, places.count, from: first))
    }

    /// For what a decoder computes of the encoder's output: the keys and values of cross-attention. A decoding state's
    /// later steps have them already.
    func visitingSource(of target: Target) -> Context {
        guard let visitor = target.visitor, let mask = target.encoderMask, target.encoder != nil else { return self }
        return visiting(visitor, mask: mask, positions: positions(mask.size(0), mask.size(1), from: 0))
    }

    /// For what a layer computes of sums of tokens, [batch, sums], which have places of their own.
    func visiting(_ visitor: Visitor, sums mask: Tensor) -> Context {
        visiting(visitor, mask: mask, positions: positions(mask.size(0), mask.size(1), from: 0))
    }

    /// `first`, `first` + 1 ... in every row, [batch, count].
    private func positions(_ batch: Int, _ count: Int, from first: Int) -> Tensor {
        let count = max(count, 0)
        return constant((first..<first + count).map { Int32($0) }, [1, count]).expand([batch, count])
    }
}
