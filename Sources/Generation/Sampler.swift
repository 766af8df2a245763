import Glibc
import Support

/// Draws tokens from the distribution that temperature, top k and top p leave.
package struct Sampler {
    /// Longest sorted list kept to find the top k; insertion into a longer one costs more than a heap.
    private static let largestList = 256

    private let options: GenerationOptions
    private let generator: Philox
    /// Tokens with their scaled scores; first a heap with the best at the root, and the tokens taken
    /// from it behind `heapCount`.
    private var heap: [(score: Float, token: Int32)] = []
    private var heapCount = 0
    private var best: TopCandidates
    /// The tokens that may be drawn, best first if `topK` or `topP` chose them and in token order
    /// otherwise, with their probabilities relative to the best token.
    package private(set) var kept: [(token: Int32, weight: Double)] = []

    package init(options: GenerationOptions) {
        self.options = options
        generator = Philox(seed: options.seed)
        best = TopCandidates(capacity: min(max(1, options.topK), Self.largestList))
    }

    /// Chooses one token: draws it, or takes the best where the options do not sample.
    ///
    /// - Parameter row: logits after the rules, `[vocabulary]`.
    /// - Throws: `SeamError(.numeric)` for a row without a largest number, and as `draw` does.
    mutating func choose(_ row: Span<Float>, sequence: Int, step: Int) throws -> (token: Int32, logProbability: Float) {
        let largest = try RowMath.largest(row)
        if options.sample { return try draw(row, largest: largest.value, sequence: sequence, step: step) }
        let logProbability = options.wantsLogProbabilities ? -RowMath.logSumExp(row, largest: largest.value) : 0
        return (Int32(largest.index), logProbability)
    }

    /// Draws one token: the first whose sum of weights, in the order of `kept`, exceeds `u` times the
    /// sum of all, with `u = Philox.uniform(sequence, step)`.
    ///
    /// - Parameters:
    ///   - row: logits after the rules, `[vocabulary]`.
    ///   - largest: the largest of them, finite.
    /// - Throws: `SeamError(.numeric)` where the temperature makes the largest one infinite.
    private mutating func draw(
        _ row: Span<Float>, largest: Float, sequence: Int, step: Int
    ) throws -> (token: Int32, logProbability: Float) {
        try filter(row, largest: largest)
        let total = kept.reduce(0.0) { $0 + $1.weight }
        let target = generator.uniform(sequence: sequence, step: step) * total
        var sum = 0.0
        // Rounding can leave the sum below the target; then the last token is the one.
        var chosen = kept[kept.count - 1]
        for entry in kept {
            sum += entry.weight
            if sum > target {
                chosen = entry
                break
            }
        }
        return (chosen.token, options.wantsLogProbabilities ? Float(log(chosen.weight / total)) : 0)
    }

    /// Fills `kept` from a row of logits. Throws as `draw` does.
    package mutating func filter(_ row: Span<Float>, largest: Float) throws {
        // Probabilities are differences from it, which infinity does not have.
        guard (largest / options.temperature).isFinite else {
            throw SeamError(
                .numeric,
                "a logit of \(largest) divided by a temperature of \(options.temperature) is infinite, so no token can be"
                    + " drawn: raise temperature, or turn do_sample off")
        }
        filterBySum(row, largest: largest)
        // Weights are relative to the best token's.
        if options.minP > 0 { kept.removeAll { $0.weight < options.minP } }
    }

    private mutating func filterBySum(_ row: Span<Float>, largest: Float) {
        kept.removeAll(keepingCapacity: true)
        let scaledLargest = largest / options.temperature
        func weight(_ score: Float) -> Double { exp(Double(score - scaledLargest)) }

        let takesAll = options.topK == 0 || options.topK >= row.count
        if takesAll, options.topP == 1 {
            for token in row.indices where row[token] > -.infinity {
                kept.append((Int32(token), weight(row[token] / options.temperature)))
            }
            return
        }
        fillHeap(row, from: takesAll ? -.infinity : smallestOfTopK(row))
        var total = 0.0
        if takesAll {
            for entry in heap { total += weight(entry.score) }
        } else {
            var last = -Float.infinity
            while heapCount > 0, kept.count < options.topK || heap[0].score == last {
                let entry = popBest()
                last = entry.score
                kept.append((entry.token, weight(entry.score)))
                total += kept[kept.count - 1].weight
            }
        }
        guard options.topP < 1 else { return }
        // A token stays while the tokens above it hold less than topP; the best always stays.
        let limit = options.topP * total
        if takesAll {
            var above = 0.0
            while heapCount > 0, kept.isEmpty || above < limit {
                let entry = popBest()
                kept.append((entry.token, weight(entry.score)))
                above += kept[kept.count - 1].weight
            }
        } else {
            var above = kept[0].weight
            var count = 1
            while count < kept.count, above < limit {
                above += kept[count].weight
                count += 1
            }
            kept.removeSubrange(count...)
        }
    }

    /// Heap order: higher score first, then lower token, so that equal scores have one order.
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        let (a, b) = (heap[left], heap[right])
        return a.score > b.score || (a.score == b.score && a.token < b.token)
    }

    /// The `topK`-th best logit, or minus infinity if finding it would cost more than a heap of all.
    private mutating func smallestOfTopK(_ row: Span<Float>) -> Float {
        guard options.topK <= Self.largestList else { return -.infinity }
        best.removeAll()
        best.offer(row, plus: 0, group: 0)
        return best[best.count - 1].score
    }

    /// Makes a heap of the tokens whose scaled score is that of the logit `smallest` or more.
    private mutating func fillHeap(_ row: Span<Float>, from smallest: Float) {
        heap.removeAll(keepingCapacity: true)
        let limit = smallest / options.temperature
        // Division can make a slightly smaller logit equal, so the cheap first test leaves a margin.
        let nearly = smallest > -.infinity ? smallest - smallest.magnitude * 0x1p-20 - .leastNormalMagnitude : smallest
        for token in row.indices where row[token] >= nearly && row[token] > -.infinity {
            let score = row[token] / options.temperature
            if score >= limit { heap.append((score, Int32(token))) }
        }
        heapCount = heap.count
        for node in stride(from: heapCount / 2 - 1, through: 0, by: -1) { siftDown(node) }
    }

    private mutating func popBest() -> (score: Float, token: Int32) {
        heapCount -= 1
        heap.swapAt(0, heapCount)
        siftDown(0)
        return heap[heapCount]
    }

    private mutating func siftDown(_ start: Int) {
        var node = start
        while true {
            let left = 2 * node + 1
            guard left < heapCount else { return }
            let right = left + 1
            let child = right < heapCount && precedes(right, left) ? right : left
            guard precedes(child, node) else { return }
            heap.swapAt(child, node)
            node = child
        }
    }
}
