import Engine
import Kernels
import Support

/// A classifier whose scores are linear in the features: `(x - centre) weights^T + bias`.
///
/// Centring loses nothing and keeps f32 exact enough where features share a large offset, as hidden states do.
struct LinearClassifier: Sendable {
    let width: Int
    /// `width` values.
    let centre: [Float]
    /// classes x `width`.
    let weights: [Float]
    /// One a class.
    let bias: [Float]

    /// Rows of features -> rows of class scores. Throws `SeamError`: `.shape` for parts of a row, `.numeric` for NaN or
    /// infinity.
    func scores(_ features: [Float]) throws -> [Float] {
        let (count, classes) = (features.count / width, bias.count)
        try checkCount(features.count, "features", rows: count, columns: width)
        try checkFinite(features, "features", columns: width)
        try NativeEngine.start()
        let block = 1024
        var result: [Float] = []
        result.reserveCapacity(count * classes)
        for start in stride(from: 0, to: count, by: block) {
            let rows = min(block, count - start)
            var centred = [Float](repeating: 0, count: rows * width)
            for row in 0..<rows {
                for column in 0..<width {
                    centred[row * width + column] = features[(start + row) * width + column] - centre[column]
                }
            }
            var scores = [Float](repeating: 0, count: rows * classes)
            sk_gemm(
                0, 1, Int64(rows), Int64(classes), Int64(width), 1, centred, Int64(width), weights, Int64(width), 0,
                &scores, Int64(classes))
            sk_add_bias(&scores, bias, Int64(rows), Int64(classes))
            result += scores
        }
        return result
    }
}
