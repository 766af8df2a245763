import Datasets
import Engine
import Support

/// A few examples of each class, drawn from a larger set.
public struct Shots: Sendable, Equatable {
    /// Rows to train on: one of each class in the order of the classes, then a second one of each, and so on. For one
    /// seed the first rows of a larger draw are the smaller draw.
    public let training: [Int]
    /// Rows to choose settings by, in the same order, none of them in `training`. They depend on the seed, not on the
    /// number of rows to train on.
    public let development: [Int]

    /// Draws without replacement, each class by itself.
    ///
    /// The same rows for the same labels and seed on every machine: each class is put into the random order of
    /// `shuffledOrder` by a generator of its own; training rows are taken from the front, development rows from the
    /// back.
    ///
    /// - Parameters:
    ///   - perClass: examples of each class to train on, 1 or more.
    ///   - developmentPerClass: examples of each class besides, 0 or more.
    /// - Throws: `SeamError(.invalidArgument)` for other numbers, and for a class with too few rows.
    public init(from data: LabelledTexts, perClass: Int, developmentPerClass: Int = 0, seed: UInt64) throws {
        guard perClass >= 1, developmentPerClass >= 0, perClass <= data.count, developmentPerClass <= data.count else {
            throw SeamError(
                .invalidArgument,
                "\(data.name): expected 1 or more shots and 0 or more development examples a class, and no more than"
                    + " the \(data.count) rows, found \(perClass) and \(developmentPerClass)")
        }
        var rows = [[Int]](repeating: [], count: data.labelNames.count)
        for (row, label) in data.labels.enumerated() { rows[label].append(row) }
        let drawn = try rows.enumerated().map { label, rows in
            guard rows.count >= perClass + developmentPerClass else {
                let development = developmentPerClass > 0 ? " and \(developmentPerClass) for development" : ""
                throw SeamError(
                    .invalidArgument,
                    "\(data.name): class \"\(data.labelNames[label])\" has \(rows.count) examples, too few for"
                        + " \(perClass) shots\(development)")
            }
            var generator = SeededGenerator(seed: seed, stream: "shots of class \(label)")
            return shuffledOrder(rows.count, by: &generator).map { rows[$0] }
        }
        training = (0..<perClass).flatMap { place in drawn.map { $0[place] } }
        development = (0..<developmentPerClass).flatMap { place in drawn.map { $0[$0.count - 1 - place] } }
    }
}
