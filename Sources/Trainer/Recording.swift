import Engine
import Files
import Plotting
import Session
import Support

/// Values of adapters over the steps of a run (`SEAM_METHOD_RECORDED`), as entries of its history.
public enum Recording {
    private static let event = "recorded"
    /// About how many a run has of each.
    private static let count = 100

    static func isOne(_ entry: JSON) -> Bool { entry["event"]?.stringValue == event }

    /// Whether values are recorded after a step: the first, the last and about `count` in between.
    static func isDue(step: Int, total: Int) -> Bool {
        step == 1 || step == total || step % interval(total) == 0
    }

    private static func interval(_ total: Int) -> Int { max(1, (total - 1) / count + 1) }

    /// What one method of an adapter gives after a step.
    /// - Parameter position: of the adapter among those attached, from 1.
    static func entry(_ adapter: Adapter, position: Int, method: String, step: Int) throws -> JSON {
        guard case .tensor(let tensor) = try adapter.call(method) else {
            throw SeamError(
                .plugin, "method \"\(method)\" of adapter \"\(adapter.factory.id)\" is recorded and must give a tensor",
                origin: adapter.origin)
        }
        guard tensor.dtype == .f32 || tensor.dtype == .i32 else {
            throw SeamError(
                .plugin,
                "method \"\(method)\" of adapter \"\(adapter.factory.id)\" is recorded and must give f32 or i32, found \(tensor.dtype.name)",
                origin: adapter.origin)
        }
        let values: [JSON] =
            tensor.dtype == .i32
            ? tensor.integers.map { .int(Int64($0)) } : tensor.floats.map { .double(Double($0)) }
        if tensor.dtype == .f32, let place = tensor.floats.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric,
                "method \"\(method)\" of adapter \"\(adapter.factory.id)\" is recorded and gives NaN or infinity at element \(place)",
                origin: adapter.origin)
        }
        return [
            "event": .string(event), "step": .int(Int64(step)), "adapter": .string(adapter.factory.id),
            "position": .int(Int64(position)), "method": .string(method),
            "shape": .array(tensor.shape.map { .int(Int64($0)) }), "values": .array(values),
        ]
    }

    /// Writes recorded.jsonl, one object a line, and for each method a heat map, ADAPTER-METHOD.svg; nothing where nothing
    /// was recorded. Of several adapters of one id a picture's name begins with the position.
    static func write(_ entries: [JSON], total: Int, to output: String) throws {
        guard !entries.isEmpty else { return }
        let lines = try entries.map { entry in
            try JSON.object(entry.objectValue!.filter { $0.key != "event" }).serialized() + "\n"
        }
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
            let entry = try JSON.parse(String(line), name: path)
            try check(entry, in: path)
            return entry
        }
        guard let total = entries.last?["step"]?.intValue, total > 0 else { return [] }
        return plots(entries, total: total)
    }

    /// Throws `SeamError(.format)` for a recorded entry of `place` that is not as `entry` makes them. Adapter and method
    /// become names of files, so that they must be names.
    private static func check(_ entry: JSON, in place: String) throws {
        for key in ["adapter", "method"] {
            let name = try entry.requireString(key, in: place)
            let isName = name.unicodeScalars.allSatisfy {
                $0.isASCII
                    && ($0.properties.isAlphabetic || $0.properties.numericType != nil
                        || "._-".unicodeScalars.contains($0))
            }
            guard isName, !name.isEmpty, !name.hasPrefix(".") else {
                throw SeamError(
                    .format, "\(place): \"\(key)\" must be a name of letters, digits and . _ -, found \"\(name)\"")
            }
        }
        _ = try (entry.requireInt("step", in: place), entry.requireInt("position", in: place))
        let (shape, count) = (
            try entry.requireInts("shape", in: place), try entry.requireArray("values", in: place).count
        )
        let width = shape.last ?? 1
        guard width == 0 ? count == 0 : width > 0 && count.isMultiple(of: width) else {
            throw SeamError(.format, "\(place): \"shape\" must be one of the \(count) \"values\", found \(shape)")
        }
    }

    /// Throws as `plots(in:)` for entries of a checkpoint's history that were recorded.
    static func check(history: [JSON], in place: String) throws {
        for entry in history where isOne(entry) { try check(entry, in: place) }
    }

    private static func plots(_ entries: [JSON], total: Int) -> [Plot] {
        let first = entries.filter { $0["step"] == entries[0]["step"] }
        return first.map { one in
            let (adapter, method) = (one["adapter"]?.stringValue ?? "", one["method"]?.stringValue ?? "")
            let isOnlyOne = first.count { $0["adapter"] == one["adapter"] && $0["method"] == one["method"] } == 1
            let name = isOnlyOne ? "\(adapter)-\(method)" : "\(one["position"]?.intValue ?? 0)-\(adapter)-\(method)"
            let own = entries.filter { $0["position"] == one["position"] && $0["method"] == one["method"] }
            return Plot(adapter: adapter, method: method, name: name, map: heatMap(own, name: name, total: total))
        }
    }

    /// Steps from left to right; tokens from the top, each the mean over the rows of its values.
    private static func heatMap(_ entries: [JSON], name: String, total: Int) -> HeatMap {
        let step = interval(total)
        // The columns are evenly spaced: the first and the last step may lie between.
        let columns = entries.filter { ($0["step"]?.intValue ?? 0) % step == 0 }.map(means)
        let tokens = columns.map(\.count).max() ?? 0
        var map = HeatMap(
            title: name, xLabel: "step", yLabel: "token", valueLabel: entries[0]["method"]?.stringValue ?? "",
            values: (0..<tokens).map { token in columns.map { token < $0.count ? $0[token] : .nan } })
        (map.firstColumn, map.columnStep) = (step, step)
        return map
    }

    /// Means over all axes but the last.
    private static func means(_ entry: JSON) -> [Double] {
        let values = (entry["values"]?.arrayValue ?? []).map { $0.doubleValue ?? .nan }
        let width = entry["shape"]?.arrayValue?.last?.intValue ?? values.count
        let rows = width > 0 ? values.count / width : 0
        return (0..<max(width, 0)).map { column in
            (0..<rows).reduce(0) { $0 + values[$1 * width + column] } / Double(rows)
        }
    }
}
