import Files
import Support
import Trainer

extension SweepReport {
    /// The files that every report has.
    static let fileNames = ["results.md", "results.jsonl", "metric.svg", "loss.svg"]

    /// Writes results.jsonl, results.md, metric.svg, loss.svg and, for what adapters recorded, ADAPTER-VARIANT-VALUE.svg
    /// of the first seed's runs, each atomically.
    /// - Returns: the names of the files.
    @discardableResult
    public func write(to folder: SweepFolder) throws -> [String] {
        let texts = [markdown, try lines(), metricPlot, lossPlot]
        let files = zip(Self.fileNames, texts).map { (name: $0, text: $1) } + (try recordedPlots(in: folder))
        for file in files { try FileSystem.atomicWriteFile(folder[file.name], text: file.text) }
        return files.map(\.name)
    }

    /// A heat map for each method that an adapter of a run recorded.
    private func recordedPlots(in folder: SweepFolder) throws -> [(name: String, text: String)] {
        try plan.runs.filter { $0.seed == plan.seeds[0] && curves[$0] != nil }.flatMap { run in
            let plots = try Recording.plots(in: folder.folder(of: run))
            return plots.map { recorded -> (name: String, text: String) in
                var map = recorded.map
                map.title = "\(recorded.method) of \(recorded.adapter): \(run.title)"
                let isOnly = plots.count { $0.adapter == recorded.adapter } == 1
                let kind = isOnly ? recorded.adapter : recorded.name
                let values = run.point.settings.map(\.value).joined(separator: "-")
                return ("\(kind)-\(run.variant.name)-\(values).svg", map.svg)
            }
        }
    }
}
