import Engine
import Files
import SeamHost
import Support

/// What one method of an adapter (`SEAM_METHOD_RECORDED`) gave after a step.
public struct RecordedValues: Sendable, Equatable {
    let step: Int
    /// The adapter's id, and its place among those attached, from 1.
    let adapter: String
    let position: Int
    let method: String
    let shape: [Int]
    /// Row-major.
    let values: [Double]
    /// Whether the tensor was one of integers, which are written without a decimal point.
    let areIntegers: Bool

    /// Calls a method of an adapter.
    /// - Parameter position: the adapter's among those attached, from 1.
    /// - Throws: `.plugin` for a method that gives no tensor of f32 or i32; `.numeric` for NaN or infinity.
    init(of adapter: Adapter, position: Int, method: String, step: Int) throws {
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
        areIntegers = tensor.dtype == .i32
        values = areIntegers ? tensor.integers.map(Double.init) : tensor.floats.map(Double.init)
        if let place = values.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric,
                "method \"\(method)\" of adapter \"\(adapter.factory.id)\" is recorded and gives NaN or infinity at element \(place)",
                origin: adapter.origin)
        }
        (self.step, self.adapter, self.position, self.method) = (step, adapter.factory.id, position, method)
        shape = Array(tensor.shape)
    }

    /// The values as they are written. Adapter and method become names of files, so that they must be names.
    /// - Parameter place: the file, for errors.
    /// - Throws: `.format` for a member that is missing or not as it was written.
    init(_ json: JSON, in place: String) throws {
        func name(_ key: String) throws -> String {
            let name = try json.requireString(key, in: place)
            let isName = name.unicodeScalars.allSatisfy {
                $0.isASCII
                    && ($0.properties.isAlphabetic || $0.properties.numericType != nil
                        || "._-".unicodeScalars.contains($0))
            }
            guard isName, !name.isEmpty, !name.hasPrefix(".") else {
                throw SeamError(
                    .format, "\(place): \"\(key)\" must be a name of letters, digits and . _ -, found \"\(name)\"")
            }
            return name
        }
        (adapter, method) = (try name("adapter"), try name("method"))
        (step, position) = (try json.requireInt("step", in: place), try json.requireInt("position", in: place))
        shape = try json.requireInts("shape", in: place)
        let elements = try json.requireArray("values", in: place)
        let width = shape.last ?? 1
        guard width == 0 ? elements.isEmpty : width > 0 && elements.count.isMultiple(of: width) else {
            throw SeamError(
                .format, "\(place): \"shape\" must be one of the \(elements.count) \"values\", found \(shape)")
        }
        values = try elements.map { element in
            guard let value = element.doubleValue else {
                throw SeamError(.format, "\(place): \"values\" must hold numbers, found \(element.kind)")
            }
            return value
        }
        areIntegers = elements.allSatisfy { $0.intValue.flatMap(Int32.init(exactly:)) != nil }
    }

    /// The members of the JSON object that they are written as.
    var members: [(key: String, value: JSON)] {
        [
            (key: "step", value: .int(Int64(step))), (key: "adapter", value: .string(adapter)),
            (key: "position", value: .int(Int64(position))), (key: "method", value: .string(method)),
            (key: "shape", value: .array(shape.map { .int(Int64($0)) })),
            (key: "values", value: .array(values.map { areIntegers ? .int(Int64($0)) : .double($0) })),
        ]
    }

    /// The means over all axes but the last.
    var means: [Double] {
        let width = shape.last ?? values.count
        let rows = width > 0 ? values.count / width : 0
        return (0..<max(width, 0)).map { column in
            (0..<rows).reduce(0) { $0 + values[$1 * width + column] } / Double(rows)
        }
    }
}
