/// Text as the metrics see it: an array of Unicode scalars. `String` compares by canonical
/// equivalence and counts grapheme clusters; the metrics' definitions (Python's `str`) do neither.
package typealias Scalars = [UInt32]

/// The scalars of a text.
package func scalars(of text: String) -> Scalars {
    var result = Scalars()
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars { result.append(scalar.value) }
    return result
}

/// Whether `str.isspace` of Python holds; that is White_Space of Unicode and the four separators U+001C...U+001F.
func isSpace(_ scalar: UInt32) -> Bool {
    if scalar < 0x80 { return scalar == 0x20 || (0x09...0x0D).contains(scalar) || (0x1C...0x1F).contains(scalar) }
    switch scalar {
    case 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: return true
    default: return false
    }
}

func isDigit(_ scalar: UInt32) -> Bool { (0x30...0x39).contains(scalar) }

/// The lower case of every scalar by itself. Python's `str.lower` differs for one sign: a capital sigma at the end of a
/// word, which it makes a final one.
func lowercased(_ text: Scalars) -> Scalars {
    var result = Scalars()
    result.reserveCapacity(text.count)
    for value in text {
        if value < 0x80 {
            result.append((0x41...0x5A).contains(value) ? value + 0x20 : value)
        } else if let scalar = Unicode.Scalar(value) {
            for lower in scalar.properties.lowercaseMapping.unicodeScalars { result.append(lower.value) }
        }
    }
    return result
}

/// The pieces between runs of white space; none is empty.
func words(of text: Scalars) -> [ArraySlice<UInt32>] {
    text.split(whereSeparator: isSpace)
}

/// A tree of sequences of numbers: every distinct sequence has a node, numbered from 1 in the order
/// of appearance; 0 is the empty sequence. It serves to number words and to count n-grams without
/// making a key object for each.
struct SequenceTree {
    private var children: [UInt64: Int] = [:]
    /// Number of elements of each node's sequence.
    private(set) var depths = [0]
    /// The node of each node's sequence without its last element.
    private(set) var parents = [0]

    /// The node of `node`'s sequence with `symbol` behind it.
    mutating func child(of node: Int, _ symbol: UInt32) -> Int {
        let key = UInt64(node) << 32 | UInt64(symbol)
        if let found = children[key] { return found }
        depths.append(depths[node] + 1)
        parents.append(node)
        children[key] = depths.count - 1
        return depths.count - 1
    }

    /// The node of a sequence.
    mutating func node(of sequence: some Sequence<UInt32>) -> Int {
        sequence.reduce(0) { child(of: $0, $1) }
    }

    mutating func removeAll() {
        children.removeAll(keepingCapacity: true)
        depths.removeSubrange(1...)
        parents.removeSubrange(1...)
    }

    /// Calls `body` with the node of every n-gram of a text, for the lengths 1...`maxOrder`.
    mutating func forEachNgram(
        of text: some RandomAccessCollection<UInt32>, maxOrder: Int, _ body: (_ node: Int) -> Void
    ) {
        for start in text.indices {
            var node = 0
            for symbol in text[start...].prefix(maxOrder) {
                node = child(of: node, symbol)
                body(node)
            }
        }
    }

    /// How often each node's sequence occurs in a text, for the lengths 1...`maxOrder`. The result
    /// has an element for each node up to the last one that the text has.
    mutating func countNgrams(of text: some RandomAccessCollection<UInt32>, maxOrder: Int) -> [Int] {
        var counts = [Int](repeating: 0, count: depths.count)
        forEachNgram(of: text, maxOrder: maxOrder) { node in
            if node >= counts.count {
                counts.append(contentsOf: repeatElement(0, count: node + 1 - counts.count))
            }
            counts[node] += 1
        }
        return counts
    }

    /// The counts for a large tree of which the text has few nodes: by node, in the order of appearance.
    mutating func ngramCounts(
        of text: some RandomAccessCollection<UInt32>, maxOrder: Int
    ) -> [(node: Int, count: Int)] {
        var places: [Int: Int] = [:]
        var counts: [(node: Int, count: Int)] = []
        forEachNgram(of: text, maxOrder: maxOrder) { node in
            if let place = places[node] {
                counts[place].count += 1
            } else {
                places[node] = counts.count
                counts.append((node, 1))
            }
        }
        return counts
    }
}

/// Numbers equal words equally.
struct WordNumbers {
    private var tree = SequenceTree()

    mutating func numbers(of words: some Sequence<ArraySlice<UInt32>>) -> [UInt32] {
        words.map { UInt32(tree.node(of: $0)) }
    }
}
