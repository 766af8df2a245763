import Kernels
import Support

/// Throws `SeamError(.shape)` unless a matrix of `rows` x `columns` has `found` values; `argument` names it.
func checkCount(_ found: Int, _ argument: String, rows: Int, columns: Int) throws {
    let (expected, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard rows >= 0, columns >= 0, !overflow, found == expected else {
        throw SeamError(.shape, "argument \(argument): expected \(rows) x \(columns) values, found \(found)")
    }
}

/// Throws `SeamError(.numeric)` naming the row and column of the first NaN or infinity.
func checkFinite(_ values: [Float], _ argument: String, columns: Int) throws {
    let place = Int(sk_first_nonfinite(values, Int32(SK_F32.rawValue), Int64(values.count)))
    guard place >= 0 else { return }
    throw SeamError(
        .numeric,
        "argument \(argument): expected finite numbers, found \(values[place]) in row \(place / columns), column"
            + " \(place % columns)")
}

/// The column of each row's greatest value, the first of equal ones.
///
/// - Parameters:
///   - scores: rows of `classes` finite values.
///   - classes: 1 or more.
/// - Throws: `SeamError(.shape)` when the values are no whole rows, `.numeric` for NaN or infinity.
public func predictedClasses(_ scores: [Float], classes: Int) throws -> [Int] {
    guard classes > 0 else { throw SeamError(.shape, "argument classes: expected 1 or more, found \(classes)") }
    try checkCount(scores.count, "scores", rows: scores.count / classes, columns: classes)
    try checkFinite(scores, "scores", columns: classes)
    return stride(from: 0, to: scores.count, by: classes).map { start in
        var best = start
        for place in start..<start + classes where scores[place] > scores[best] { best = place }
        return best - start
    }
}
