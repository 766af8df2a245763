/// A set of byte strings with a number each, to find them in texts.
struct ByteTrie: Sendable {
    private var children = PairTable()
    /// The string that ends at each node; -1 where none does.
    private var numbers: [Int32] = [-1]
    private var startsSome = [Bool](repeating: false, count: 256)

    var isEmpty: Bool { numbers.count == 1 }

    /// Adds `text`, which must not be empty; false when it is there already.
    mutating func insert(_ text: [UInt8], _ number: Int32) -> Bool {
        var node: Int32 = 0
        for byte in text {
            if let next = child(of: node, byte) {
                node = next
            } else {
                let next = Int32(numbers.count)
                children.insert(node, Int32(byte), UInt64(next))
                node = next
                numbers.append(-1)
            }
        }
        guard numbers[Int(node)] < 0 else { return false }
        numbers[Int(node)] = number
        startsSome[Int(text[0])] = true
        return true
    }

    /// The longest string at the leftmost place at or behind `start` where there is one.
    func firstMatch(in text: [UInt8], from start: Int) -> (range: Range<Int>, number: Int32)? {
        var position = start
        while position < text.count {
            if startsSome[Int(text[position])] {
                var found: (Range<Int>, Int32)?
                forEachPrefix(of: text, position..<text.count) { found = (position..<$0, $1) }
                if let found { return found }
            }
            position += 1
        }
        return nil
    }

    /// Calls `body` with each string that `text[range]` starts with, from short to long: its end and number.
    func forEachPrefix(of text: [UInt8], _ range: Range<Int>, _ body: (_ end: Int, _ number: Int32) -> Void) {
        var node: Int32 = 0
        for position in range {
            guard let next = child(of: node, text[position]) else { return }
            node = next
            if numbers[Int(node)] >= 0 { body(position + 1, numbers[Int(node)]) }
        }
    }

    private func child(of node: Int32, _ byte: UInt8) -> Int32? {
        let child = children[node, Int32(byte)]
        return child == PairTable.none ? nil : Int32(truncatingIfNeeded: child)
    }
}
