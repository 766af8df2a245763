import CSeam
import Engine
import Glibc
import Support

/// A declared parameter of an adapter or backbone (`seam_parameter`).
struct ParameterDeclaration {
    enum Initialisation {
        case zeros, ones
        case constant(Double)
        case normal(mean: Double, deviation: Double)
        case uniform(Double, Double)
        case xavierUniform(gain: Double), xavierNormal(gain: Double)
        case data([Float])
        case model
    }

    let name: String
    let shape: Shape
    let isFrozen: Bool
    let initialisation: Initialisation

    init(_ source: seam_parameter, origin: String) throws {
        guard let name = source.name.map({ String(cString: $0) }), !name.isEmpty else {
            throw SeamError(.plugin, "a parameter has no name", origin: origin)
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
        switch Int(source.`init`) {
        case SEAM_INIT_ZEROS: initialisation = .zeros
        case SEAM_INIT_ONES: initialisation = .ones
        case SEAM_INIT_CONSTANT: initialisation = .constant(source.a)
        case SEAM_INIT_NORMAL: initialisation = .normal(mean: source.a, deviation: source.b)
        case SEAM_INIT_UNIFORM: initialisation = .uniform(source.a, source.b)
        case SEAM_INIT_XAVIER_UNIFORM: initialisation = .xavierUniform(gain: source.a)
        case SEAM_INIT_XAVIER_NORMAL: initialisation = .xavierNormal(gain: source.a)
        case SEAM_INIT_DATA:
            guard let data = source.data else {
                throw SeamError(.plugin, "parameter \"\(name)\" is initialised from data that is NULL", origin: origin)
            }
            initialisation = .data(Array(UnsafeBufferPointer(start: data, count: shape.elementCount)))
        case SEAM_INIT_MODEL: initialisation = .model
        default:
            throw SeamError(.plugin, "parameter \"\(name)\" has the unknown initialisation \(source.`init`)", origin: origin)
        }
    }

    /// Initial values; `.model` has none.
    func makeTensor(seed: UInt64, pool: MemoryPool) throws -> Tensor {
        var random = SeededGenerator(seed: seed, stream: name)
        let count = shape.elementCount
        let rows = shape.count > 1 ? shape[shape.count - 2] : 1
        let fans = Double(rows + (shape.last ?? 1))
        let values: [Float]
        switch initialisation {
        case .zeros: values = [Float](repeating: 0, count: count)
        case .ones: values = [Float](repeating: 1, count: count)
        case .constant(let value): values = [Float](repeating: Float(value), count: count)
        case .normal(let mean, let deviation):
            values = (0..<count).map { _ in Float(mean + deviation * random.normal()) }
        case .uniform(let low, let high): values = (0..<count).map { _ in Float(low + (high - low) * random.uniform()) }
        case .xavierUniform(let gain):
            let bound = gain * (6 / fans).squareRoot()
            values = (0..<count).map { _ in Float(bound * (2 * random.uniform() - 1)) }
        case .xavierNormal(let gain):
            let deviation = gain * (2 / fans).squareRoot()
            values = (0..<count).map { _ in Float(deviation * random.normal()) }
        case .data(let data): values = data
        case .model:
            throw SeamError(.plugin, "parameter \"\(name)\" comes from a model, but there is no model")
        }
        return try Context(pool: pool, recordsGradients: false).constant(values, shape)
    }
}

/// Parameters of one instance: their tensors, which of them are trained, and their handles in declared order.
public final class ParameterSet {
    public struct Entry {
        public let name: String
        public let isFrozen: Bool
        public internal(set) var tensor: Tensor
    }

    public private(set) var entries: [Entry]
    /// The leaves that training updates; empty while nothing is trained.
    public private(set) var variables: [Variable] = []
    /// For the C border; valid as long as this object.
    private(set) var handles: [OpaquePointer?] = []

    init(_ entries: [Entry]) {
        self.entries = entries
        refreshHandles()
    }

    private func refreshHandles() { handles = entries.map { $0.tensor.handle } }

    public subscript(name: String) -> Tensor? { entries.first { TextKey($0.name) == TextKey(name) }?.tensor }

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
