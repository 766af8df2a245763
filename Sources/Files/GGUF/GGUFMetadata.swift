import Support

/// Typed reads of metadata values: nil where the file has no such key; `SeamError(.format)` naming the file and the key
/// where the value is of another type, or does not fit the type that is returned.
extension GGUFFile {
    public func int(_ key: String) throws -> Int? {
        try scalar(key, "an integer") { try integer($0, at: $1.offset, key) }
    }

    /// A number. One that is stored as f32 is given as the shortest decimal that is the same f32: 1e-5 was meant, not
    /// 9.999999747378752e-06. NaN and infinity are refused.
    public func double(_ key: String) throws -> Double? {
        let number: Double? = try scalar(key, "a number") { type, entry in
            switch type {
            case .float32: Double("\(file.bytes.loadUnaligned(fromByteOffset: entry.offset, as: Float.self))")
            case .float64: file.bytes.loadUnaligned(fromByteOffset: entry.offset, as: Double.self)
            default: try integer(type, at: entry.offset, key).map { Double($0) }
            }
        }
        if let number, !number.isFinite { throw wrong(key, "a finite number", "\(number)") }
        return number
    }

    public func bool(_ key: String) throws -> Bool? {
        try scalar(key, "a boolean") { type, entry in
            guard type == .bool else { return nil }
            let byte = file.bytes[entry.offset]
            guard byte <= 1 else { throw wrong(key, "a boolean", "the byte \(byte)") }
            return byte == 1
        }
    }

    public func string(_ key: String) throws -> String? {
        try scalar(key, "a string") { type, entry in
            guard type == .string else { return nil }
            var cursor = FileCursor(file.bytes, path: path, at: entry.offset)
            return try cursor.string("\"\(key)\"")
        }
    }

    public func strings(_ key: String) throws -> [String]? {
        try array(key, "an array of strings") { type, entry in
            guard type == .string else { return nil }
            var cursor = FileCursor(file.bytes, path: path, at: entry.offset)
            return try (0..<entry.count).map { try cursor.string("element \($0) of \"\(key)\"") }
        }
    }

    public func int32s(_ key: String) throws -> [Int32]? {
        try array(key, "an array of 32-bit integers") { type, entry in
            guard let size = type.size else { return nil }
            var result: [Int32] = []
            result.reserveCapacity(entry.count)
            for index in 0..<entry.count {
                guard let value = try integer(type, at: entry.offset + index * size, key) else { return nil }
                guard let narrow = Int32(exactly: value) else {
                    throw wrong(key, "an array of 32-bit integers", "\(value)")
                }
                result.append(narrow)
            }
            return result
        }
    }

    public func floats(_ key: String) throws -> [Float]? {
        try array(key, "an array of f32 numbers") { type, entry in
            guard type == .float32 else { return nil }
            return (0..<entry.count).map {
                file.bytes.loadUnaligned(fromByteOffset: entry.offset + $0 * 4, as: Float.self)
            }
        }
    }

    /// The integer that `int` gives, but a missing value is an error, too.
    public func requireInt(_ key: String) throws -> Int { try require(int(key), key, "an integer") }
    public func requireDouble(_ key: String) throws -> Double { try require(double(key), key, "a number") }
    public func requireString(_ key: String) throws -> String { try require(string(key), key, "a string") }

    private func require<Value>(_ value: Value?, _ key: String, _ expected: String) throws -> Value {
        guard let value else { throw SeamError(.format, "\(path): \"\(key)\" is missing, it must be \(expected)") }
        return value
    }

    private func wrong(_ key: String, _ expected: String, _ found: String) -> SeamError {
        SeamError(.format, "\(path): \"\(key)\" must be \(expected), found \(found)")
    }

    private func scalar<Value>(
        _ key: String, _ expected: String, _ read: (GGUFValueType, GGUFEntry) throws -> Value?
    ) throws -> Value? {
        guard let entry = entries[TextKey(key)] else { return nil }
        guard let value = try read(entry.type, entry) else { throw wrong(key, expected, entry.type.kind) }
        return value
    }

    private func array<Value>(
        _ key: String, _ expected: String, _ read: (GGUFValueType, GGUFEntry) throws -> [Value]?
    ) throws -> [Value]? {
        guard let entry = entries[TextKey(key)] else { return nil }
        guard let element = entry.element else { throw wrong(key, expected, entry.type.kind) }
        guard let values = try read(element, entry) else {
            throw wrong(key, expected, "an array whose elements are each \(element.kind)")
        }
        return values
    }

    /// The integer of that type at a place; nil for types that are no integers. Throws for one beyond Int.
    private func integer(_ type: GGUFValueType, at offset: Int, _ key: String) throws -> Int? {
        func load<Number: FixedWidthInteger>(_: Number.Type) throws -> Int {
            let value = Number(littleEndian: file.bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
            guard let number = Int(exactly: value) else { throw wrong(key, "an integer of 63 bits", "\(value)") }
            return number
        }
        return switch type {
        case .uint8: try load(UInt8.self)
        case .int8: try load(Int8.self)
        case .uint16: try load(UInt16.self)
        case .int16: try load(Int16.self)
        case .uint32: try load(UInt32.self)
        case .int32: try load(Int32.self)
        case .uint64: try load(UInt64.self)
        case .int64: try load(Int64.self)
        default: nil
        }
    }
}
