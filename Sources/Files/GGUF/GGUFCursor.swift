import Support

/// The types of metadata values in a GGUF file, under the format's numbers.
enum GGUFValueType: UInt32 {
    case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

    /// Bytes of one value; nil where values differ.
    var size: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }

    /// The type as error sentences name it.
    var kind: String {
        switch self {
        case .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64: "an integer"
        case .float32, .float64: "a decimal number"
        case .bool: "a boolean"
        case .string: "a string"
        case .array: "an array"
        }
    }
}

/// The place of a metadata value in its file; the value itself is read when it is asked for.
struct GGUFEntry {
    let type: GGUFValueType
    /// The type of an array's elements.
    var element: GGUFValueType?
    /// The number of an array's elements.
    var count = 1
    /// The first byte of the value, or of the first element.
    let offset: Int
}

/// What GGUF files are made of: counts of 64 bits, texts and typed values.
extension FileCursor {
    /// A number of things that take at least `least` bytes each.
    mutating func count(least: Int, _ place: @autoclosure () -> String) throws -> Int {
        let found = try integer(UInt64.self, place())
        guard found <= UInt64(remaining / least) else {
            throw malformed("\(place()) is \(found), more than the file's \(bytes.count) bytes can hold")
        }
        return Int(found)
    }

    mutating func string(_ place: @autoclosure () -> String) throws -> String {
        let start = try skipString(place())
        let text = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
        guard let string = String(validating: text, as: UTF8.self) else {
            throw malformed("\(place()) is not UTF-8 text")
        }
        return string
    }

    /// Goes beyond a string, unread; returns where its text begins.
    @discardableResult
    mutating func skipString(_ place: @autoclosure () -> String) throws -> Int {
        let length = try count(least: 1, "the length of \(place())")
        let start = position
        try skip(length, place())
        return start
    }

    mutating func valueType(_ place: @autoclosure () -> String) throws -> GGUFValueType {
        let number = try integer(UInt32.self, "the type of \(place())")
        guard let type = GGUFValueType(rawValue: number) else {
            throw malformed("\(place()) has the type \(number), which is none of the format's types 0 to 12")
        }
        return type
    }

    /// Goes beyond a value; returns where it is.
    mutating func entry(_ type: GGUFValueType, _ place: @autoclosure () -> String, depth: Int = 0) throws -> GGUFEntry {
        let start = position
        switch type {
        case .string:
            try skipString(place())
        case .array:
            guard depth < 4 else { throw malformed("\(place()) holds arrays more than four levels deep") }
            let element = try valueType("the elements of \(place())")
            let least = element.size ?? (element == .string ? 8 : 12)
            let count = try count(least: least, "the number of elements of \(place())")
            let first = position
            if let size = element.size {
                try skip(count * size, place())
            } else {
                for _ in 0..<count { _ = try entry(element, place(), depth: depth + 1) }
            }
            return GGUFEntry(type: type, element: element, count: count, offset: first)
        default:
            try skip(type.size ?? 0, place())
        }
        return GGUFEntry(type: type, offset: start)
    }
}
