/// The largest rank of a tensor (`SEAM_MAX_RANK`).
public let maxRank = 8

/// The sizes (or strides) of a tensor: up to `maxRank` integers stored inline, so that making a tensor's
/// metadata allocates nothing.
public struct Shape: Sendable, Equatable, RandomAccessCollection, MutableCollection, ExpressibleByArrayLiteral,
    CustomStringConvertible
{
    private var values: InlineArray<8, Int>
    public private(set) var count: Int

    public init() {
        values = InlineArray(repeating: 0)
        count = 0
    }

    /// The first `maxRank` values; callers check the rank of untrusted input before.
    public init(_ source: some Sequence<Int>) {
        self.init()
        for value in source { append(value) }
    }

    public init(repeating value: Int, count: Int) {
        values = InlineArray(repeating: value)
        self.count = count
    }

    public init(arrayLiteral elements: Int...) { self.init(elements) }

    public var startIndex: Int { 0 }
    public var endIndex: Int { count }

    public subscript(position: Int) -> Int {
        get {
            precondition(position < count)
            return values[position]
        }
        set {
            precondition(position < count)
            values[position] = newValue
        }
    }

    public mutating func append(_ value: Int) {
        precondition(count < maxRank, "a tensor has at most \(maxRank) dimensions")
        values[count] = value
        count += 1
    }

    public mutating func remove(at position: Int) {
        for index in position..<(count - 1) { values[index] = values[index + 1] }
        count -= 1
    }

    public mutating func insert(_ value: Int, at position: Int) {
        append(0)
        for index in stride(from: count - 1, to: position, by: -1) { values[index] = values[index - 1] }
        values[position] = value
    }

    /// The number of elements a tensor of this shape has; 1 for a scalar.
    public var elementCount: Int {
        var product = 1
        for index in 0..<count { product *= values[index] }
        return product
    }

    /// Whether the sizes are no negative numbers and small enough that no later arithmetic on them overflows: together at
    /// most 2^40, a size of 0 counted as 1, since products of the sizes beside it are taken, too.
    public var isAddressable: Bool {
        var product = 1
        for index in 0..<count {
            guard values[index] >= 0 else { return false }
            let (next, overflow) = product.multipliedReportingOverflow(by: Swift.max(values[index], 1))
            guard !overflow, next <= 1 << 40 else { return false }
            product = next
        }
        return true
    }

    /// Row-major strides, in elements.
    public var contiguousStrides: Shape {
        var strides = Shape(repeating: 1, count: count)
        var step = 1
        for index in stride(from: count - 1, through: 0, by: -1) {
            strides.values[index] = step
            step *= values[index]
        }
        return strides
    }

    public static func == (a: Shape, b: Shape) -> Bool {
        guard a.count == b.count else { return false }
        for index in 0..<a.count where a.values[index] != b.values[index] { return false }
        return true
    }

    public var description: String { "[" + map(String.init).joined(separator: ", ") + "]" }

    /// NumPy's broadcast of two shapes, or nil when they do not fit.
    public static func broadcast(_ a: Shape, _ b: Shape) -> Shape? {
        let rank = Swift.max(a.count, b.count)
        var result = Shape(repeating: 1, count: rank)
        for index in 0..<rank {
            let fromA = index - (rank - a.count)
            let fromB = index - (rank - b.count)
            let sizeA = fromA >= 0 ? a[fromA] : 1
            let sizeB = fromB >= 0 ? b[fromB] : 1
            guard sizeA == sizeB || sizeA == 1 || sizeB == 1 else { return nil }
            result[index] = sizeA == 1 ? sizeB : sizeA
        }
        return result
    }

    /// The values as the kernels take them.
    func withInt64<R>(_ body: (UnsafePointer<Int64>) -> R) -> R {
        var copy = InlineArray<8, Int64>(repeating: 0)
        for index in 0..<count { copy[index] = Int64(values[index]) }
        return withUnsafePointer(to: copy) { pointer in
            pointer.withMemoryRebound(to: Int64.self, capacity: maxRank) { body($0) }
        }
    }
}
