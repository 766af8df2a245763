/// A text and the stretches of it that are to become tokens, in order; none is empty.
struct Pieces {
    private(set) var text: [UInt8]
    private(set) var ranges: [Range<Int>]
    /// What begins before this place begins with the first character of the whole input.
    private(set) var lead: Int

    init(text: [UInt8], range: Range<Int>, lead: Int) {
        self.text = text
        ranges = [range]
        self.lead = lead
    }

    /// Puts what `split` makes of each stretch in its place; stretches without a byte are dropped.
    mutating func replaceEach(_ split: (_ piece: Range<Int>, _ result: inout [Range<Int>]) throws -> Void) rethrows {
        var result: [Range<Int>] = []
        result.reserveCapacity(text.count / 2)
        for piece in ranges { try split(piece, &result) }
        result.removeAll(where: \.isEmpty)
        ranges = result
    }

    /// Puts what `write` appends in the place of the text of each stretch: of its beginning, the beginning of that.
    mutating func rewrite(_ write: (_ text: [UInt8], _ piece: Range<Int>, _ result: inout [UInt8]) -> Void) {
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        var newLead = 0
        for number in ranges.indices {
            let piece = ranges[number]
            let begin = result.count
            if piece.lowerBound < lead {
                write(text, piece.lowerBound..<min(piece.upperBound, lead), &result)
                newLead = result.count
                result.removeLast(result.count - begin)
            }
            write(text, piece, &result)
            ranges[number] = begin..<result.count
        }
        text = result
        lead = newLead
    }
}
