import Glibc
import Kernels
import Testing

private func softmax(_ x: [Double]) -> [Double] {
    let highest = x.max() ?? 0
    let terms = x.map { exp($0 - highest) }
    let sum = terms.reduce(0, +)
    return terms.map { $0 / sum }
}

private func logSoftmax(_ x: [Double]) -> [Double] {
    let highest = x.max() ?? 0
    let sum = log(x.reduce(0) { $0 + exp($1 - highest) })
    return x.map { $0 - highest - sum }
}

private func byRows(_ x: [Float], _ cols: Int, _ function: ([Double]) -> [Double]) -> [Double] {
    stride(from: 0, to: x.count, by: cols).flatMap { function(doubles(Array(x[$0..<$0 + cols]))) }
}

/// Up to five columns of a row, the ends among them.
func someColumns(_ cols: Int) -> [Int] { Array(Set([0, cols / 3, cols / 2, cols - 1])).sorted() }

/// Checks a gradient kernel against central differences in some columns of the first and last rows.
func expectGradient(
    _ dx: [Float], start: [Float], x: [Float], dy: [Float], cols: Int, absolute: Double, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation, forward: ([Double]) -> [Double]
) {
    for row in Set([0, x.count / cols - 1]) {
        let range = row * cols..<(row + 1) * cols
        let columns = someColumns(cols)
        let slopes = numericGradient(
            of: forward, at: doubles(Array(x[range])), weights: doubles(Array(dy[range])), positions: columns)
        let actual = columns.map { dx[range.lowerBound + $0] - start[range.lowerBound + $0] }
        expectClose(
            actual, slopes, absolute: absolute, relative: 1e-5, "\(what) row \(row)", sourceLocation: sourceLocation)
    }
}

@Suite struct SoftmaxTests {
    /// exp's few units in the last place, and the row's sum.
    @Test(arguments: oddRows) func forward(rows: Int, cols: Int) {
        let x = noise(rows * cols, from: -20, to: 20)
        var y = x
        sk_softmax(&y, x, Int64(rows), Int64(cols))
        expectClose(y, byRows(x, cols, softmax), absolute: 1e-9, relative: 2e-6)
        sk_log_softmax(&y, x, Int64(rows), Int64(cols))
        expectClose(y, byRows(x, cols, logSoftmax), absolute: 1e-6, relative: 3e-7)
    }

    /// The gradient is added to dx, whose start of order one leaves 2e-7 of rounding.
    @Test(arguments: oddRows) func gradients(rows: Int, cols: Int) {
        let x = noise(rows * cols)
        let dy = noise(rows * cols, seed: 2)
        let start = noise(rows * cols, from: -0.1, to: 0.1, seed: 3)
        var y = x
        var dx = start
        sk_softmax(&y, x, Int64(rows), Int64(cols))
        sk_softmax_gradient(&dx, dy, y, Int64(rows), Int64(cols))
        expectGradient(dx, start: start, x: x, dy: dy, cols: cols, absolute: 1e-6, forward: softmax)
        sk_log_softmax(&y, x, Int64(rows), Int64(cols))
        dx = start
        sk_log_softmax_gradient(&dx, dy, y, Int64(rows), Int64(cols))
        expectGradient(dx, start: start, x: x, dy: dy, cols: cols, absolute: 2e-6, forward: logSoftmax)
    }

    @Test func specialValues() {
        var y = [Float](repeating: 0, count: 20)
        var x = noise(20)
        x[3] = -.infinity
        x[18] = -.infinity
        sk_softmax(&y, x, 1, 20)
        #expect(y[3] == 0 && y[18] == 0 && abs(y.reduce(0, +) - 1) < 1e-6)
        x[5] = .nan
        sk_softmax(&y, x, 1, 20)
        #expect(y.every(\.isNaN))
        sk_softmax(&y, x.map { $0.isNaN ? 1e30 : $0 }, 1, 20)
        #expect(y[5] == 1)
        sk_log_softmax(&y, x, 1, 20)
        #expect(y.every(\.isNaN))
    }
}

@Suite struct CrossEntropyTests {
    private func loss(_ x: [Double], target: Int, smoothing: Double) -> Double {
        let logs = logSoftmax(x)
        return -(1 - smoothing) * logs[target] - smoothing * logs.reduce(0, +) / Double(x.count)
    }

    @Test(arguments: oddRows, [0, 0.1] as [Float]) func lossAndGradient(shape: (Int, Int), smoothing: Float) {
        let (rows, cols) = shape
        let x = noise(rows * cols)
        var source = Noise(7)
        // Every fourth row is ignored.
        let targets = (0..<rows).map { $0 % 4 == 2 ? Int32(-100) : Int32(source.index(below: cols)) }
        var losses = [Float](repeating: .nan, count: rows)
        var logSums = losses
        sk_cross_entropy(&losses, &logSums, x, targets, -100, smoothing, Int64(rows), Int64(cols))
        let slices = (0..<rows).map { doubles(Array(x[$0 * cols..<($0 + 1) * cols])) }
        let expected = (0..<rows).map {
            targets[$0] < 0 ? 0 : loss(slices[$0], target: Int(targets[$0]), smoothing: Double(smoothing))
        }
        expectClose(losses, expected, absolute: 2e-6, relative: 5e-7)

        let weights = noise(rows, seed: 8)
        let start = noise(rows * cols, from: -0.1, to: 0.1, seed: 9)
        var dx = start
        sk_cross_entropy_gradient(&dx, weights, x, logSums, targets, -100, smoothing, Int64(rows), Int64(cols))
        for row in Set([0, min(2, rows - 1), rows - 1]) {
            let columns = someColumns(cols) + (targets[row] < 0 ? [] : [Int(targets[row])])
            let actual = columns.map { dx[row * cols + $0] - start[row * cols + $0] }
            let slopes =
                targets[row] < 0
                ? columns.map { _ in 0 }
                : numericGradient(
                    of: { [loss($0, target: Int(targets[row]), smoothing: Double(smoothing))] }, at: slices[row],
                    weights: [Double(weights[row])], positions: columns)
            expectClose(actual, slopes, absolute: 2e-6)
        }
    }

    @Test func specialValues() {
        var loss: [Float] = [0, 0]
        var logSum = loss
        sk_cross_entropy(&loss, &logSum, [1, .nan, 2, 1, -.infinity, 2], [0, 2], -100, 0, 2, 3)
        #expect(loss[0].isNaN)
        expectClose([loss[1]], [log(1 + exp(-1))], absolute: 1e-6)
        sk_cross_entropy(&loss, &logSum, [1e4, 0, 0, 1e4, 0, 0], [0, 1], -100, 0, 2, 3)
        #expect(loss == [0, 1e4])
    }
}

/// Calls the kernel; causalOffset nil: not causal. A bias, and one of a prefix, are shared by the batch.
private func attentionSoftmax(
    _ scores: inout [Float], scale: Float = 1, bias: [Float]? = nil, mask: [Int32]?, causalOffset: Int? = nil,
    prefix: Int = 0, prefixBias: [Float]? = nil, batch: Int = 1, heads: Int = 1, queries: Int = 1, keys: Int
) {
    func withPointer<Element>(_ values: [Element]?, _ body: (UnsafePointer<Element>?) -> Void) {
        guard let values else { return body(nil) }
        values.withUnsafeBufferPointer { body($0.baseAddress) }
    }
    scores.withUnsafeMutableBufferPointer { scores in
        withPointer(bias) { bias in
            withPointer(mask) { mask in
                withPointer(prefixBias) { prefixBias in
                    var attention = sk_attention()
                    attention.scores = scores.baseAddress
                    attention.scale = scale
                    (attention.bias, attention.mask, attention.prefix_bias) = (bias, mask, prefixBias)
                    attention.bias_strides = (0, Int64(queries * keys), Int64(keys))
                    attention.prefix_bias_strides = (0, Int64(queries * prefix), Int64(prefix))
                    attention.causal = causalOffset == nil ? 0 : 1
                    attention.causal_offset = Int64(causalOffset ?? 0)
                    attention.mask_stride = Int64(keys)
                    (attention.batch, attention.heads) = (Int64(batch), Int64(heads))
                    (attention.queries, attention.prefix, attention.keys) = (Int64(queries), Int64(prefix), Int64(keys))
                    sk_attention_softmax(&attention)
                }
            }
        }
    }
}

@Suite struct AttentionSoftmaxTests {
    @Test(arguments: [false, true], [false, true]) func againstPlainSoftmax(biased: Bool, causal: Bool) {
        for (batch, heads, queries, keys, offset) in [
            (1, 1, 1, 1, 0), (2, 3, 5, 7, 2), (2, 2, 33, 33, 0), (3, 4, 65, 100, -3), (1, 2, 1, 1000, 999),
        ] {
            let scores = noise(batch * heads * queries * keys, from: -30, to: 30)
            // One bias per head and query, shared by the batch.
            let bias = noise(heads * queries * keys, seed: 2)
            // The last batch hides everything.
            let mask = (0..<batch * keys).map { Int32($0 / keys == batch - 1 && batch > 1 ? 0 : ($0 % 5 == 1 ? 0 : 2)) }
            var actual = scores
            attentionSoftmax(
                &actual, scale: 0.125, bias: biased ? bias : nil, mask: mask, causalOffset: causal ? offset : nil,
                batch: batch, heads: heads, queries: queries, keys: keys)
            var expected: [Double] = []
            for row in 0..<batch * heads * queries {
                let query = row % queries
                let head = row / queries % heads
                let item = row / queries / heads
                let values = (0..<keys).map { key -> Double in
                    if mask[item * keys + key] == 0 || (causal && key > query + offset) { return -.infinity }
                    return Double(scores[row * keys + key]) * 0.125
                        + (biased ? Double(bias[(head * queries + query) * keys + key]) : 0)
                }
                expected += values.every { $0 == -.infinity } ? values.map { _ in 0 } : softmax(values)
            }
            expectClose(actual, expected, absolute: 1e-9, relative: 4e-6, "\(batch) \(heads) \(queries) \(keys)")
        }
    }

    /// The prefix is seen by every query, whatever mask and causality say of the keys behind it.
    @Test(arguments: [false, true]) func aPrefixIsSeenByAll(biased: Bool) {
        let (batch, heads, queries, prefix, keys) = (2, 3, 5, 21, 7)
        let width = prefix + keys
        let scores = noise(batch * heads * queries * width, from: -30, to: 30)
        let bias = noise(heads * queries * keys, seed: 2)
        let prefixBias = noise(heads * queries * prefix, seed: 3)
        let mask = (0..<batch * keys).map { Int32($0 / keys == 1 ? 0 : 1) }
        var actual = scores
        attentionSoftmax(
            &actual, scale: 0.25, bias: biased ? bias : nil, mask: mask, causalOffset: keys - queries, prefix: prefix,
            prefixBias: biased ? prefixBias : nil, batch: batch, heads: heads, queries: queries, keys: keys)
        var expected: [Double] = []
        for row in 0..<batch * heads * queries {
            let (query, item) = (row % queries, row / queries / heads)
            let place = row % (heads * queries)
            expected += softmax(
                (0..<width).map { column in
                    let score = Double(scores[row * width + column]) * 0.25
                    if column < prefix { return score + (biased ? Double(prefixBias[place * prefix + column]) : 0) }
                    let key = column - prefix
                    if mask[item * keys + key] == 0 || key > query + keys - queries { return -.infinity }
                    return score + (biased ? Double(bias[place * keys + key]) : 0)
                })
        }
        expectClose(actual, expected, absolute: 1e-9, relative: 4e-6)
    }

    @Test func hiddenNaNStaysHidden() {
        var scores: [Float] = [1, .nan, 1, 1]
        attentionSoftmax(&scores, mask: [1, 0, 1, 0], keys: 4)
        #expect(scores == [0.5, 0, 0.5, 0])
        scores = [1, .nan, 1, 1]
        attentionSoftmax(&scores, mask: [1, 1, 1, 0], keys: 4)
        #expect(scores[0].isNaN && scores[1].isNaN && scores[2].isNaN)
        scores = [.nan, .nan]
        attentionSoftmax(&scores, mask: nil, keys: 2)
        #expect(scores.every(\.isNaN))
    }
}
