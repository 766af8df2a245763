import Files
import Plotting

/// The values of adapters over the steps of a run (`SEAM_METHOD_RECORDED`): when they are taken, and their file and
/// pictures.
public enum Recording {
    /// About how many a run has of each.
    private static let count = 100

    /// Whether values are recorded after a step: the first, the last and about `count` in between.
    static func isDue(step: Int, total: Int) -> Bool {
        step == 1 || step == total || step % interval(total) == 0
    }

    private static func interval(_ total: Int) -> Int { max(1, (total - 1) / count + 1) }

    /// Writes recorded.jsonl, one object a line, and for each method a heat map, ADAPTER-METHOD.svg; nothing where nothing
    /// was recorded. Of several adapters of one id a picture's name begins with the position.
    static func write(_ entries: [RecordedValues], total: Int, to output: String) throws {
        guard !entries.isEmpty else { return }
        let lines = try entries.map { try JSON.object($0.members).serialized() + "\n" }
        try FileSystem.atomicWriteFile(FileSystem.join(output, fileName), text: lines.joined())
        for plot in plots(entries, total: total) {
            try FileSystem.atomicWriteFile(FileSystem.join(output, "\(plot.name).svg"), text: plot.map.svg)
        }
    }

    static let fileName = "recorded.jsonl"

    /// What one method of an adapter gave over the steps, as a picture.
    public struct Plot: Sendable {
        /// The adapter's id, and the method.
        public let adapter, method: String
        /// "gate-weights", with the position in front where several adapters have the same id.
        public let name: String
        /// Titled with the name.
        public var map: HeatMap
    }

    /// The pictures of what the run in `folder` recorded; none where it recorded nothing.
    /// Throws `SeamError` for a file that is not as it was written.
    public static func plots(in folder: String) throws -> [Plot] {
        let path = FileSystem.join(folder, fileName)
        guard FileSystem.exists(path) else { return [] }
        let entries = try FileSystem.readText(path).split(separator: "\n").map { line in
            try RecordedValues(try JSON.parse(String(line), name: path), in: path)
        }
        guard let total = entries.last?.step, total > 0 else { return [] }
        return plots(entries, total: total)
    }

    private static func plots(_ entries: [RecordedValues], total: Int) -> [Plot] {
        let first = entries.filter { $0.step == entries[0].step }
        return first.map { one in
            let isOnlyOne = first.count { $0.adapter == one.adapter && $0.method == one.method } == 1
            let name = "\(isOnlyOne ? "" : "\(one.position)-")\(one.adapter)-\(one.method)"
            let own = entries.filter { $0.position == one.position && $0.method == one.method }
            return Plot(
                adapter: one.adapter, method: one.method, name: name, map: heatMap(own, name: name, total: total))
        }
    }

    /// Steps from left to right; tokens from the top, each the mean over the rows of its values.
    private static func heatMap(_ entries: [RecordedValues], name: String, total: Int) -> HeatMap {
        let step = interval(total)
        // The columns are evenly spaced: the first and the last step may lie between.
        let columns = entries.filter { $0.step % step == 0 }.map(\.means)
        let tokens = columns.map(\.count).max() ?? 0
        var map = HeatMap(
            title: name, xLabel: "step", yLabel: "token", valueLabel: entries[0].method,
            values: (0..<tokens).map { token in columns.map { token < $0.count ? $0[token] : .nan } })
        (map.firstColumn, map.columnStep) = (step, step)
        return map
    }
}
