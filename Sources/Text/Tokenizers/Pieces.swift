/// A text and the stretches of it that are to become tokens, in order; none is empty.
struct Pieces {
    private(set) var text: [UInt8]
    private(set) var ranges: [Range<Int>]
    /// Where the stretches began before they were cut.
    private(set) var start: Int
    /// Whether that is the start of the whole input.
    let isAtStart: Bool

    init(text: [UInt8], range: Range<Int>, isAtStart: Bool) {
        self.text = text
        ranges = [range]
        start = range.lowerBound
        self.isAtStart = isAtStart
    }

    /// Puts what `split` makes of each stretch in its place; stretches without a byte are dropped.
    mutating func replaceEach(_ split: (_ piece: Range<Int>, _ result: inout [Range<Int>]) throws -> Void) rethrows {
        var result: [Range<Int>] = []
        result.reserveCapacity(text.count / 2)
        for piece in ranges { try split(piece, &result) }
        result.removeAll(where: \.isEmpty)
        ranges = result
    }

    /// Puts what `write` appends in the place of the text of each stretch.
    mutating func rewrite(_ write: (_ text: [UInt8], _ piece: Range<Int>, _ result: inout [UInt8]) -> Void) {
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        var isFirst = true
        for number in ranges.indices {
            let piece = ranges[number]
            let begin = result.count
            write(text, piece, &result)
            // The first stretch may lie behind the start, where something was cut away before it.
            if isFirst { start = piece.lowerBound == start ? begin : -1 }
            isFirst = false
            ranges[number] = begin..<result.count
        }
        text = result
    }
}

