import Engine

/// A matrix [rows, columns], row-major, with orthonormal rows or, where there are more rows than columns, columns (Saxe
/// et al. 2014), the same on every machine and in every engine:
///
/// 1. Standard normal numbers are drawn for the whole matrix, row by row.
/// 2. Where there are more rows than columns the work is done on the transpose; otherwise on the matrix itself.
/// 3. Each row of that, in order, loses its projections on the rows before it, twice (modified Gram-Schmidt: for each
///    row before, in order, the product with what is left of this row is taken and that much of the earlier row
///    subtracted; then all of that once more), and is divided by its length.
///
/// All of it in double precision; sums run from the first element to the last. A row that nothing is left of, which
/// normal numbers do not give, becomes NaN, and the caller refuses that.
package func orthogonal(rows: Int, columns: Int, _ random: inout SeededGenerator) -> [Double] {
    let drawn = (0..<rows * columns).map { _ in random.normal() }
    let isTall = rows > columns
    let (count, length) = isTall ? (columns, rows) : (rows, columns)
    var vectors = (0..<count).map { row in
        (0..<length).map { isTall ? drawn[$0 * columns + row] : drawn[row * columns + $0] }
    }
    func product(_ a: [Double], _ b: [Double]) -> Double {
        var sum = 0.0
        for index in 0..<length { sum += a[index] * b[index] }
        return sum
    }
    for row in 0..<count {
        var own = vectors[row]
        for _ in 0..<2 {
            for before in 0..<row {
                let part = product(vectors[before], own)
                for index in 0..<length { own[index] -= part * vectors[before][index] }
            }
        }
        let norm = product(own, own).squareRoot()
        for index in 0..<length { own[index] /= norm }
        vectors[row] = own
    }
    var result = [Double](repeating: 0, count: rows * columns)
    for row in 0..<rows {
        for column in 0..<columns {
            result[row * columns + column] = isTall ? vectors[column][row] : vectors[row][column]
        }
    }
    return result
}
