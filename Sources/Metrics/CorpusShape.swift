import Support

/// Checks that there is at least one hypothesis and that each has at least one reference.
///
/// - Throws: `SeamError` (`invalidArgument`, or `shape` for unequal counts).
func checkCorpus(_ hypotheses: [String], _ references: [[String]]) throws {
    guard !hypotheses.isEmpty else {
        throw SeamError(.invalidArgument, "argument hypotheses: expected 1 or more, found none")
    }
    guard references.count == hypotheses.count else {
        throw SeamError(
            .shape,
            "argument references: expected \(hypotheses.count) lists, one per hypothesis, found \(references.count)")
    }
    if let empty = references.firstIndex(where: \.isEmpty) {
        throw SeamError(.invalidArgument, "argument references: expected 1 or more for hypothesis \(empty), found none")
    }
}

/// Throws `SeamError(.invalidArgument)` for an n-gram order below 1.
func checkOrder(_ maxOrder: Int) throws {
    guard maxOrder >= 1 else {
        throw SeamError(.invalidArgument, "argument maxOrder: expected 1 or more, found \(maxOrder)")
    }
}
