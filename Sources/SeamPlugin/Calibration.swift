import CSeam

extension Context {
    /// What a method on `Seam.decoderOutput` divides a model's scores by, so that its liking for a class is divided out: the
    /// scores of an empty text over their mean, c = s_empty / mean(s_empty), for each prompt (Zhao et al. 2021; Cui et al.
    /// 2023, section 3.1).
    /// - Parameters:
    ///   - emptyScores: `Examples.emptyScores`; nil where they are not known.
    ///   - method: its name, for a sentence.
    /// - Returns: [prompts, classes], ones where the scores are not known. Nil, with the failure latched, where scores
    ///   cannot be divided by that; the sentence names the option "calibration", by which a method goes without.
    public func calibration(_ emptyScores: Tensor?, prompts: Int, classes: Int, of method: String) -> Tensor? {
        guard let emptyScores else { return full(1, [prompts, classes]) }
        guard let scores = emptyScores.floats() else { return nil }
        var scales: [Float] = []
        for prompt in 0..<prompts {
            let own = scores[prompt * classes..<(prompt + 1) * classes]
            let place = prompts > 1 ? " of prompt \(prompt)" : ""
            let mean = own.reduce(0) { $0 + Double($1) } / Double(classes)
            if let bad = own.firstIndex(where: { $0 == 0 || !$0.isFinite }) {
                _ = fail(
                    .numeric,
                    "\(method) divides scores by those of an empty text, and that of class \(bad - own.startIndex)\(place) is "
                        + (own[bad] == 0 ? "0" : "not finite") + ": set calibration to false")
                return nil
            }
            guard mean != 0 else {
                _ = fail(
                    .numeric,
                    "\(method) divides the scores of an empty text\(place) by their mean, which is 0: set calibration to false"
                )
                return nil
            }
            scales += own.map { Float(Double($0) / mean) }
        }
        return constant(scales, [prompts, classes])
    }
}
