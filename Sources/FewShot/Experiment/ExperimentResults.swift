import Support

/// What an experiment came to so far, by method and shots.
struct ExperimentResults {
    /// One method with one draw, or without training.
    struct Outcome {
        let metrics: ClassificationMetrics
        /// Texts that the model is asked about for it, those to classify apart.
        var queries = 0
        /// Nil: as long as other queries on average.
        var secondsQuerying: Double?
        var secondsTraining = 0.0
    }

    private var outcomes: [FewShotMethod: [Int: [Outcome]]] = [:]

    mutating func add(_ outcome: Outcome, _ method: FewShotMethod, shots: Int) {
        outcomes[method, default: [:]][shots, default: []].append(outcome)
    }

    /// A table of all of them: shots 0 are the methods without training.
    /// - Parameters:
    ///   - shots: the numbers that were trained with.
    ///   - secondsPerQuery: what a text took on average.
    ///   - adapterName: the name of the method `adapters`.
    func report(
        title: String, methods: [FewShotMethod], shots: [Int], secondsPerQuery: Double, adapterName: String
    ) throws -> Report {
        var report = Report(title: title)
        for method in methods {
            for shots in [0] + shots {
                guard let outcomes = outcomes[method]?[shots] else { continue }
                func mean(_ seconds: (Outcome) -> Double) -> Double {
                    outcomes.reduce(0) { $0 + seconds($1) } / Double(outcomes.count)
                }
                try report.add(
                    Report.Cell(
                        accuracy: try Spread(outcomes.map(\.metrics.accuracy)),
                        macroF1: try Spread(outcomes.map(\.metrics.macroF1)),
                        queries: outcomes.map(\.queries).max() ?? 0,
                        secondsQuerying: mean { $0.secondsQuerying ?? Double($0.queries) * secondsPerQuery },
                        secondsTraining: mean(\.secondsTraining)),
                    method: method == .adapters ? adapterName : method.rawValue, shots: shots)
            }
        }
        return report
    }
}
