import CSeam
import Engine
import Glibc
import Support

/// A declared parameter of an adapter or backbone (`seam_parameter`).
package struct ParameterDeclaration {
    enum Initialisation {
        case zeros, ones
        case constant(Double)
        case normal(mean: Double, deviation: Double)
        case uniform(Double, Double)
        case xavierUniform(gain: Double)
        case xavierNormal(gain: Double)
        case orthogonal(gain: Double)
        /// The plugin's, alive as long as its instance.
        case data(UnsafePointer<Float>)
        case model
    }

    let name: String
    let shape: Shape
    let isFrozen: Bool
    let initialisation: Initialisation
    /// Index among the instance's points; nil: shared by all of them.
    let point: Int?

    /// - Parameter points: the names of the instance's points ("decoder.0.q"), which stand before those of their parameters.
    package init(_ source: seam_parameter, points: [String] = [], origin: String) throws {
        let own = try checkedName(source.name, "a parameter name", allowsCapitals: true, origin: origin)
        guard source.point >= -1, source.point < Int64(points.count) else {
            throw SeamError(
                .plugin,
                "parameter \"\(own)\" belongs to point \(source.point), which must be -1\(points.isEmpty ? "" : " or 0 ... \(points.count - 1)")",
                origin: origin)
        }
        point = source.point < 0 ? nil : Int(source.point)
        let name = point.map { "\(points[$0]).\(own)" } ?? own
        // Its parts become modules of torch.
        guard own.split(separator: ".", omittingEmptySubsequences: false).allSatisfy({ !$0.isEmpty }) else {
            throw SeamError(
                .plugin, "a parameter name must have something on both sides of a '.', found \"\(own)\"", origin: origin
            )
        }
        self.name = name
        isFrozen = source.flags & UInt32(SEAM_PARAMETER_FROZEN) != 0
        do throws(SeamError) {
            shape = try withUnsafePointer(to: source.shape) { (pointer) throws(SeamError) in
                try checkedSizes(
                    UnsafeRawPointer(pointer).assumingMemoryBound(to: Int64.self), source.rank, "parameter \"\(name)\"")
            }
        } catch {
            throw SeamError(error.code, error.message, origin: origin)
        }
        func wrong(_ found: String) -> SeamError {
            SeamError(.plugin, "parameter \"\(name)\" starts with \(found)", origin: origin)
        }
        switch Int(source.`init`) {
        case SEAM_INIT_ZEROS: initialisation = .zeros
        case SEAM_INIT_ONES: initialisation = .ones
        case SEAM_INIT_CONSTANT: initialisation = .constant(source.a)
        case SEAM_INIT_NORMAL:
            guard source.b >= 0 else { throw wrong("a standard deviation of \(source.b), which must be 0 or more") }
            initialisation = .normal(mean: source.a, deviation: source.b)
        case SEAM_INIT_UNIFORM:
            guard source.a <= source.b else {
                throw wrong("numbers from \(source.a) to \(source.b), which is no range")
            }
            initialisation = .uniform(source.a, source.b)
        case SEAM_INIT_XAVIER_UNIFORM: initialisation = .xavierUniform(gain: source.a)
        case SEAM_INIT_XAVIER_NORMAL: initialisation = .xavierNormal(gain: source.a)
        case SEAM_INIT_DATA:
            guard let data = source.data else {
                throw SeamError(.plugin, "parameter \"\(name)\" is initialised from data that is NULL", origin: origin)
            }
            initialisation = .data(data)
        case SEAM_INIT_MODEL: initialisation = .model
        case SEAM_INIT_ORTHOGONAL:
            guard shape.count >= 2 else {
                throw wrong("orthonormal rows and has the shape \(shape), which must have rank 2 or more")
            }
            initialisation = .orthogonal(gain: source.a)
        default:
            throw SeamError(
                .plugin, "parameter \"\(name)\" has the unknown initialisation \(source.`init`)", origin: origin)
        }
    }

    /// All parameters of an instance, checked together before memory is taken for any.
    /// - Parameters:
    ///   - owner: "adapter "x"", for a sentence.
    ///   - points: as those of `init`.
    ///   - describe: the plugin's, for an index below `count`.
    /// - Throws: `.plugin` and `.shape` for what cannot be declared, `.outOfMemory` for more than the machine holds.
    static func all(
        count: Int, owner: String, points: [String] = [], origin: String, describe: (Int, inout seam_parameter) -> Void
    ) throws -> [ParameterDeclaration] {
        // More cannot be meant, and would be asked for one by one.
        let limit = 1 << 20
        guard count >= 0, count <= limit else {
            throw SeamError(
                .plugin,
                "the number of parameters of \(owner) must be at most \(limit), found \(UInt(bitPattern: count))",
                origin: origin)
        }
        let declared = try (0..<count).map { index in
            var raw = seam_parameter()
            raw.struct_size = UInt32(MemoryLayout<seam_parameter>.size)
            raw.point = -1
            describe(index, &raw)
            return try ParameterDeclaration(raw, points: points, origin: origin)
        }
        let names = declared.map(\.name)
        try refuseTwice(names, "\(owner): the parameter", origin: origin)
        // In torch "a" is a parameter and "a.b" makes "a" a module.
        let known = Set(names)
        for name in names {
            for place in name.indices where name[place] == "." && known.contains(String(name[..<place])) {
                throw SeamError(
                    .plugin, "\(owner): the parameter \"\(name[..<place])\" must not be the beginning of \"\(name)\"",
                    origin: origin)
            }
        }
        let elements = declared.reduce(0) { sum, each in
            if case .model = each.initialisation { return sum }
            return sum + each.shape.elementCount
        }
        do throws(SeamError) { try Memory.require(elements, 4, for: "\(owner) with its parameters") } catch {
            throw SeamError(error.code, error.message, origin: origin)
        }
        return declared
    }

    /// Initial values; `.model` has none.
    /// - Throws: `.plugin` for NaN and infinity among them.
    package func makeTensor(seed: UInt64, pool: MemoryPool, origin: String) throws -> Tensor {
        var random = SeededGenerator(seed: seed, stream: name)
        let tensor = try Context(pool: pool, recordsGradients: false).makeTensor(shape)
        let values = UnsafeMutableBufferPointer(
            start: tensor.baseAddress.assumingMemoryBound(to: Float.self), count: shape.elementCount)
        func fill(_ value: () -> Double) {
            for index in values.indices { values[index] = Float(value()) }
        }
        let rows = shape.count > 1 ? shape[shape.count - 2] : 1
        let fans = Double(rows + (shape.last ?? 1))
        switch initialisation {
        case .zeros: values.update(repeating: 0)
        case .ones: values.update(repeating: 1)
        case .constant(let value): values.update(repeating: Float(value))
        case .normal(let mean, let deviation): fill { mean + deviation * random.normal() }
        case .uniform(let low, let high): fill { low + (high - low) * random.uniform() }
        case .xavierUniform(let gain):
            let bound = gain * (6 / fans).squareRoot()
            fill { bound * (2 * random.uniform() - 1) }
        case .xavierNormal(let gain):
            let deviation = gain * (2 / fans).squareRoot()
            fill { deviation * random.normal() }
        case .orthogonal(let gain):
            let rows = shape[0]
            for (index, value) in orthogonal(rows: rows, columns: values.count / max(rows, 1), &random).enumerated() {
                values[index] = Float(gain * value)
            }
        case .data(let data): _ = values.update(fromContentsOf: UnsafeBufferPointer(start: data, count: values.count))
        case .model:
            throw SeamError(
                .plugin, "parameter \"\(name)\" comes from a model, but there is no model", origin: origin)
        }
        if let position = NativeEngine.firstNonFinite(tensor.baseAddress, .f32, count: values.count) {
            throw SeamError(
                .plugin, "parameter \"\(name)\" starts with NaN or infinity at element \(position)", origin: origin)
        }
        return tensor
    }
}

/// Parameters of one instance: their tensors, which of them are trained, and their handles in declared order.
public final class ParameterSet {
    public struct Entry {
        public let name: String
        public let isFrozen: Bool
        /// Index among the instance's points; nil: shared by all of them, or of an instance without points.
        public internal(set) var point: Int?
        public internal(set) var tensor: Tensor

        /// A parameter of an instance.
        /// - Parameter point: index among the instance's points; nil: shared by all of them.
        package init(name: String, isFrozen: Bool, point: Int? = nil, tensor: Tensor) {
            (self.name, self.isFrozen, self.point, self.tensor) = (name, isFrozen, point, tensor)
        }
    }

    public private(set) var entries: [Entry]
    /// The leaves that training updates; empty while nothing is trained.
    public private(set) var variables: [Variable] = []
    /// The handles for the C border; valid as long as this object.
    package private(set) var handles: [OpaquePointer?] = []
    private var handlesByPoint: [[OpaquePointer?]]
    private let indices: [TextKey: Int]

    /// - Parameter points: how many the instance has.
    package init(_ entries: [Entry], points: Int = 0) {
        self.entries = entries
        indices = Dictionary(
            entries.enumerated().map { (TextKey($1.name), $0) }, uniquingKeysWith: { first, _ in first })
        handlesByPoint = [[OpaquePointer?]](repeating: [], count: points)
        refreshHandles()
    }

    /// What a pass at a point is given: the shared parameters, then the point's own, each in declared order.
    func handles(ofPoint point: Int) -> [OpaquePointer?] { handlesByPoint[point] }

    private func refreshHandles() {
        handles = entries.map { $0.tensor.handle }
        let shared = entries.filter { $0.point == nil }.map { Optional($0.tensor.handle) }
        for point in handlesByPoint.indices { handlesByPoint[point] = shared }
        for entry in entries { if let point = entry.point { handlesByPoint[point].append(entry.tensor.handle) } }
    }

    /// The place of a name among the entries.
    func index(of name: String) -> Int? { indices[TextKey(name)] }

    public subscript(name: String) -> Tensor? { index(of: name).map { entries[$0].tensor } }

    /// How many numbers all parameters have together.
    public var elementCount: Int { entries.reduce(0) { $0 + $1.tensor.elementCount } }

    /// The number of trained numbers, or of those that would be.
    public var trainableCount: Int { entries.filter { !$0.isFrozen }.reduce(0) { $0 + $1.tensor.elementCount } }

    /// Makes every entry that is not frozen a leaf of the gradient. Values that are mapped or stored in half precision
    /// are copied to f32 first.
    func makeTrainable(pool: MemoryPool) throws {
        guard variables.isEmpty else { return }
        let context = Context(pool: pool, recordsGradients: false)
        for index in entries.indices where !entries[index].isFrozen {
            let source = entries[index].tensor
            let values: Tensor
            if source.dtype == .f32 {
                values = try context.makeTensor(source.shape)
                memcpy(values.baseAddress, source.baseAddress, source.elementCount * 4)
            } else {
                values = try context.cast(source, to: .f32)
            }
            let variable = Variable(name: entries[index].name, values: values)
            variables.append(variable)
            entries[index].tensor = variable.tensor
        }
        refreshHandles()
    }

    /// Freezes again, keeping the values.
    func freeze() {
        variables = []
        for index in entries.indices { entries[index].tensor = entries[index].tensor.detached }
        refreshHandles()
    }

    /// Replaces the values of an entry; the tensor must be f32 of its shape.
    func load(_ name: String, _ values: UnsafeRawBufferPointer) throws {
        guard let tensor = self[name] else { throw SeamError(.notFound, "there is no parameter \"\(name)\"") }
        guard values.count == tensor.elementCount * 4 else {
            throw SeamError(
                .shape, "parameter \"\(name)\" takes \(tensor.elementCount * 4) bytes, found \(values.count)")
        }
        memcpy(tensor.baseAddress, values.baseAddress!, values.count)
    }
}
