import CSeam
import Engine
import SeamHost
import TestSupport
import Testing

/// SEAM_INIT_ORTHOGONAL.
@Suite struct OrthogonalTests {
    private func product(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    private func rows(_ values: [Double], _ columns: Int) -> [[Double]] {
        stride(from: 0, to: values.count, by: columns).map { Array(values[$0..<$0 + columns]) }
    }

    private func transposed(_ rows: [[Double]]) -> [[Double]] {
        rows[0].indices.map { column in rows.map { $0[column] } }
    }

    @Test(arguments: [(1, 1), (3, 8), (8, 3), (6, 6), (64, 48)]) func orthonormal(rows count: Int, columns: Int) {
        var random = SeededGenerator(seed: 3, stream: "matrix")
        let matrix = rows(orthogonal(rows: count, columns: columns, &random), columns)
        let vectors = count <= columns ? matrix : transposed(matrix)
        for (index, one) in vectors.enumerated() {
            for (other, two) in vectors.enumerated() {
                #expect(abs(product(one, two) - (index == other ? 1 : 0)) < 1e-13)
            }
        }
    }

    /// The first row is what was drawn, at unit length; the span of the first rows is that of the first draws.
    @Test func followsTheDraws() {
        var (random, again) = (SeededGenerator(seed: 1), SeededGenerator(seed: 1))
        let matrix = rows(orthogonal(rows: 2, columns: 4, &random), 4)
        let drawn = rows((0..<8).map { _ in again.normal() }, 4)
        let norm = product(drawn[0], drawn[0]).squareRoot()
        #expect(zip(matrix[0], drawn[0]).allSatisfy { abs($0 - $1 / norm) < 1e-14 })
        #expect(product(matrix[1], drawn[1]) > 0, "the sign is that of the draw")
        // The next number is the one after the matrix's.
        #expect(random.normal() == again.normal())
    }

    private func tensor(_ shape: [Int64], gain: Double) throws -> Tensor {
        var raw = seam_parameter()
        raw.point = -1
        raw.rank = Int32(shape.count)
        raw.`init` = seam_init(SEAM_INIT_ORTHOGONAL)
        raw.a = gain
        withUnsafeMutableBytes(of: &raw.shape) { bytes in
            let sizes = bytes.bindMemory(to: Int64.self)
            for (axis, size) in shape.enumerated() { sizes[axis] = size }
        }
        return try "w".withCString { name in
            raw.name = name
            return try ParameterDeclaration(raw, origin: "org.example").makeTensor(
                seed: 7, pool: MemoryPool(), origin: "org.example")
        }
    }

    @Test func asAStartOfParameters() throws {
        let values = try tensor([2, 3, 2], gain: 3).floats.map(Double.init)
        let pair = rows(values, 6)
        #expect(abs(product(pair[0], pair[0]) - 9) < 1e-5 && abs(product(pair[0], pair[1])) < 1e-5)
        expectError(
            .plugin,
            "parameter \"w\" starts with orthonormal rows and has the shape [4], which must have rank 2 or more"
        ) {
            try tensor([4], gain: 1)
        }
        #expect(try tensor([0, 3], gain: 1).elementCount == 0)
    }
}
