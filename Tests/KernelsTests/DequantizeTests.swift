import Glibc
import Kernels
import Testing

/// A block with the values that the Python package gguf gives for it (Fixtures/make_blocks.py).
private struct Block {
    let format: UInt32
    let bytes: [UInt8]
    let bits: [UInt32]

    static let all: [Block] = {
        let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        guard let file = fopen(folder + "/Fixtures/blocks.txt", "r") else { return [] }
        defer { fclose(file) }
        var text: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { break }
            text += chunk[..<count]
        }
        func numbers<Number: FixedWidthInteger>(_ digits: ArraySlice<UInt8>, _: Number.Type) -> [Number] {
            let width = MemoryLayout<Number>.size * 2
            return stride(from: digits.startIndex, to: digits.endIndex, by: width).map {
                Number(String(decoding: digits[$0..<$0 + width], as: UTF8.self), radix: 16)!
            }
        }
        return text.split(separator: UInt8(ascii: "\n")).map { line in
            let parts = line.split(separator: UInt8(ascii: " "))
            let format = UInt32(String(decoding: parts[0], as: UTF8.self), radix: 16)!
            return Block(format: format, bytes: numbers(parts[1], UInt8.self), bits: numbers(parts[2], UInt32.self))
        }
    }()
}

@Suite struct DequantizeTests {
    private static let formats = [
        SK_Q4_0, SK_Q4_1, SK_Q5_0, SK_Q5_1, SK_Q8_0, SK_Q2_K, SK_Q3_K, SK_Q4_K, SK_Q5_K, SK_Q6_K,
    ].map(\.rawValue)

    /// To the bit; NaN is any NaN.
    private func expectSame(_ values: [Float], _ bits: [UInt32], _ comment: Comment) {
        let differing = zip(values, bits).enumerated().first { _, pair in
            let expected = Float(bitPattern: pair.1)
            return expected.isNaN ? !pair.0.isNaN : pair.0.bitPattern != pair.1
        }
        #expect(values.count == bits.count, comment)
        #expect(differing == nil, comment)
    }

    @Test(arguments: formats) func blocksAreThoseOfTheReference(format: UInt32) {
        let blocks = Block.all.filter { $0.format == format }
        #expect(blocks.count >= 6)
        for (number, block) in blocks.enumerated() {
            // At an odd address: rows of a file have no alignment.
            let shifted = [0] + block.bytes
            var values = [Float](repeating: 0, count: block.bits.count)
            shifted.withUnsafeBytes {
                sk_dequantize(
                    &values, $0.baseAddress! + 1, sk_block_format(rawValue: format), 1, Int64(values.count), nil)
            }
            expectSame(values, block.bits, "block \(number) of format \(format)")
        }
    }

    /// Many rows of two blocks, so that threads share them, as they are and in another order.
    @Test(arguments: formats) func rows(format: UInt32) {
        let blocks = Block.all.filter { $0.format == format }
        let rows = 701
        func pair(_ row: Int) -> [Block] { [blocks[row % blocks.count], blocks[row / 3 % blocks.count]] }
        let bytes = (0..<rows).flatMap { pair($0).flatMap(\.bytes) }
        let cols = blocks[0].bits.count * 2
        var values = [Float](repeating: 0, count: rows * cols)
        let format = sk_block_format(rawValue: format)
        sk_dequantize(&values, bytes, format, Int64(rows), Int64(cols), nil)
        expectSame(values, (0..<rows).flatMap { pair($0).flatMap(\.bits) }, "in order")
        let order = (0..<rows).map { Int64($0 * 300 % rows) }
        sk_dequantize(&values, bytes, format, Int64(rows), Int64(cols), order)
        expectSame(values, order.flatMap { pair(Int($0)).flatMap(\.bits) }, "reordered")
    }
}
