import Engine

/// What a backbone could say of examples of a classification: random scores and hidden states around a centre of each
/// class, classes in turn.
public struct ClassExamples {
    public let classes: Int
    public let width: Int
    public var labels: [Int32]
    /// [count x classes].
    public var scores: [Float]
    /// [count x width].
    public var hidden: [Float]
    /// [classes].
    public var emptyScores: [Float]

    public init(_ count: Int, classes: Int = 3, width: Int = 16, seed: UInt64 = 1) {
        (self.classes, self.width) = (classes, width)
        var random = SeededGenerator(seed: seed, stream: "class examples")
        func normal(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.normal()) } }
        labels = (0..<count).map { Int32($0 % classes) }
        let centres = normal(classes * width)
        scores = normal(count * classes).map { $0 - 4 }
        hidden = normal(count * width)
        for index in hidden.indices { hidden[index] += centres[index / width % classes * width + index % width] }
        emptyScores = normal(classes).map { 0.3 * $0 - 4 }
    }
}
