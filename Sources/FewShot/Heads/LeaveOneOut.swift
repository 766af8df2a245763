import Engine
import Glibc
import SeamHost
import Support

/// Heads on decoder.output, of which the one is chosen that answers best about examples that it has not seen: each is
/// fitted anew without some of the training examples and asked about these. Nothing but the answers that a model has given
/// already is needed.
///
/// Up to 64 examples are left out one at a time, more in 16 groups, each with about as many of every class. Only examples
/// whose class has another one count, since nothing could be learned of a class without it. A candidate is measured by the
/// mean logarithm of the probability that it gives the right class, its scores being scaled as suits it best: a measure
/// that tells candidates apart where as many answers are right.
public struct LeaveOneOut: Sendable {
    /// Of each candidate the mean of -log p of the right class; empty where no example could be left out.
    public let losses: [Double]

    /// The best candidate. Candidates stand in falling order of how much they learn from the examples: of those that
    /// are level the last one is taken, and the first one where nothing could be left out.
    public var best: Int {
        var best = 0
        for (index, loss) in losses.enumerated() where loss <= losses[best] + Self.margin { best = index }
        return best
    }

    private static let margin = 1e-6
    private static let mostAlone = 64, groupsOfMore = 16
    /// Half powers of 2, from 1/256 to 256.
    private static let scales = (-16...16).map { exp2(Double($0) / 2) }

    /// Measures candidates. Their adapters are afterwards as they were before.
    /// - Parameters:
    ///   - candidates: the adapters of each in the order in which they run, made for the same features.
    ///   - scores, hidden, labels, emptyScores, options: as those of `FewShot.fit`.
    ///   - progress: called before each fit; false stops with `.cancelled`.
    /// - Throws: as `FewShot.fit`.
    public init(
        candidates: [[Adapter]], scores: [Float], hidden: [Float], labels: [Int32], emptyScores: [Float]? = nil,
        options: HeadTrainingOptions = HeadTrainingOptions(), progress: () -> Bool = { true }
    ) throws {
        let groups = Self.groups(labels)
        losses =
            try groups.isEmpty
            ? []
            : candidates.map { adapters in
                let sizes = try HeadSizes(adapters)
                try checkLabels(labels, count: labels.count, classes: sizes.classes)
                // Their counts are checked before rows of them are read.
                try withFeatures(scores, hidden, count: labels.count, sizes) { _, _ in }
                let before = adapters.map { $0.parameters.entries.map(\.tensor.floats) }
                func restore() {
                    for (adapter, values) in zip(adapters, before) {
                        for (entry, old) in zip(adapter.parameters.entries, values) { entry.tensor.assign(old) }
                    }
                }
                defer { restore() }
                var said: [(label: Int32, scores: [Float])] = []
                for group in groups {
                    guard progress() else { throw SeamError(.cancelled, "the choice of a head was stopped") }
                    let known = labels.indices.filter { !group.contains($0) }
                    func rows(_ values: [Float], _ places: [Int]) -> [Float] {
                        let count = values.count / labels.count
                        return places.flatMap { values[$0 * count..<($0 + 1) * count] }
                    }
                    restore()
                    _ = try fit(
                        adapters: adapters, scores: rows(scores, known), hidden: rows(hidden, known),
                        labels: known.map { labels[$0] }, emptyScores: emptyScores, options: options)
                    let found = try classScores(
                        adapters: adapters, scores: rows(scores, group), hidden: rows(hidden, group))
                    for (row, place) in group.enumerated() {
                        said.append(
                            (labels[place], Array(found[row * sizes.classes..<(row + 1) * sizes.classes])))
                    }
                }
                return Self.scales.map { Self.loss(said, scale: $0) }.min() ?? .infinity
            }
    }

    /// The places of the examples that are left out together, those of each class dealt out in turn.
    static func groups(_ labels: [Int32]) -> [[Int]] {
        let byClass = Dictionary(grouping: labels.indices) { labels[$0] }
        let counted = byClass.sorted { $0.key < $1.key }.map(\.value).filter { $0.count > 1 }.flatMap(\.self)
        guard !counted.isEmpty else { return [] }
        let count = counted.count <= mostAlone ? counted.count : groupsOfMore
        return (0..<count).map { group in stride(from: group, to: counted.count, by: count).map { counted[$0] } }
    }

    private static func loss(_ said: [(label: Int32, scores: [Float])], scale: Double) -> Double {
        let sum = said.reduce(0.0) { sum, each in
            let scores = each.scores.map { scale * Double($0) }
            let highest = scores.max() ?? 0
            return sum + log(scores.reduce(0) { $0 + exp($1 - highest) }) + highest - scores[Int(each.label)]
        }
        return sum / Double(said.count)
    }
}
