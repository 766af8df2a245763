import CSeam

/// A tensor that the host stores, trains and saves for an adapter or backbone: declared once, listed in
/// `parameters`, read in a forward as `context[parameter]`.
public final class Parameter {
    /// How the host fills it before training, reproducibly from the session's seed.
    public enum Initial {
        case zeros, ones
        case constant(Double)
        case normal(mean: Double, deviation: Double)
        case uniform(from: Double, to: Double)
        /// Glorot and Bengio 2010, from the last two sizes.
        case xavierUniform(gain: Double)
        case xavierNormal(gain: Double)
        /// A matrix [first size, the others together] with orthonormal rows or, where there are more rows than columns,
        /// columns, times the gain (Saxe et al. 2014); rank 2 or more.
        case orthogonal(gain: Double)
        /// These values, row-major.
        case data([Float])
        /// Backbones: the model's tensor of the parameter's name.
        case model
    }

    public let name: String
    public let shape: [Int]
    /// A constant that is saved with the others but never trained.
    public let frozen: Bool
    /// The index in `Site.points` of the point that an adapter's parameter inside the layers belongs to; nil:
    /// shared by all of them.
    public let point: Int?
    /// Place in the list of parameters; set when the instance is made.
    var index = -1
    /// Place among those that a pass at its point has: the shared ones, then the point's; set likewise.
    var indexAtPoint = -1

    private let initial: Initial
    private let cName: UnsafeMutablePointer<CChar>
    private let data: UnsafeMutablePointer<Float>?

    /// `name` is unique in the instance, or at its point; `shape` has at most 8 sizes.
    public init(_ name: String, _ shape: [Int], _ initial: Initial, frozen: Bool = false, point: Int? = nil) {
        (self.name, self.shape, self.initial, self.frozen, self.point) = (name, shape, initial, frozen, point)
        cName = copyCString(name)
        if case .data(let values) = initial {
            data = .allocate(capacity: values.count)
            data?.initialize(from: values, count: values.count)
        } else {
            data = nil
        }
    }

    /// The name for a table; it lives as long as this object.
    var pointerToName: UnsafePointer<CChar> { UnsafePointer(cName) }

    deinit {
        cName.deallocate()
        data?.deallocate()
    }

    /// Gives each parameter its places, before the host asks for them.
    static func number(_ parameters: [Parameter]) {
        let last = parameters.reduce(-1) { max($0, $1.point ?? -1) }
        // How many there are so far, first the shared ones.
        var counts = [Int](repeating: 0, count: last + 2)
        let shared = parameters.reduce(0) { $0 + ($1.point == nil ? 1 : 0) }
        for (index, parameter) in parameters.enumerated() {
            let place = max(parameter.point ?? -1, -1) + 1
            (parameter.index, parameter.indexAtPoint) = (index, counts[place] + (place == 0 ? 0 : shared))
            counts[place] += 1
        }
    }

    /// Describes the parameter to the host; what it points to lives as long as this object.
    func describe(_ out: UnsafeMutablePointer<seam_parameter>) {
        var value = seam_parameter()
        value.flags = frozen ? UInt32(SEAM_PARAMETER_FROZEN) : 0
        value.name = UnsafePointer(cName)
        value.rank = Int32(shape.count)
        store(shape, in: &value.shape)
        (value.`init`, value.a, value.b) = initial.cValues
        value.data = UnsafePointer(data)
        value.point = Int64(point ?? -1)
        fill(out, out.pointee.struct_size, with: &value)
    }
}

extension Parameter.Initial {
    /// The ABI's kind and its numbers a and b.
    fileprivate var cValues: (seam_init, Double, Double) {
        switch self {
        case .zeros: (seam_init(SEAM_INIT_ZEROS), 0, 0)
        case .ones: (seam_init(SEAM_INIT_ONES), 0, 0)
        case .constant(let value): (seam_init(SEAM_INIT_CONSTANT), value, 0)
        case .normal(let mean, let deviation): (seam_init(SEAM_INIT_NORMAL), mean, deviation)
        case .uniform(let from, let to): (seam_init(SEAM_INIT_UNIFORM), from, to)
        case .xavierUniform(let gain): (seam_init(SEAM_INIT_XAVIER_UNIFORM), gain, 0)
        case .xavierNormal(let gain): (seam_init(SEAM_INIT_XAVIER_NORMAL), gain, 0)
        case .orthogonal(let gain): (seam_init(SEAM_INIT_ORTHOGONAL), gain, 0)
        case .data: (seam_init(SEAM_INIT_DATA), 0, 0)
        case .model: (seam_init(SEAM_INIT_MODEL), 0, 0)
        }
    }
}
