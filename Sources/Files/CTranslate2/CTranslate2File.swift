import Support

/// The types of a CTranslate2 model's variables, under the format's numbers (`DataType` of its include/ctranslate2/types.h).
enum CTranslate2Type: UInt8 {
    case float32, int8, int16, int32, float16, bfloat16

    /// Bytes of one value.
    var size: Int {
        switch self {
        case .int8: 1
        case .int16, .float16, .bfloat16: 2
        case .float32, .int32: 4
        }
    }

    /// The type of safetensors with the same bytes; nil for what is no plain floating-point number.
    var plain: StoredType? {
        switch self {
        case .float32: .float32
        case .float16: .float16
        case .bfloat16: .bfloat16
        case .int8, .int16, .int32: nil
        }
    }
}

/// One variable of a CTranslate2 model: a weight, or a setting, which has no axes.
struct CTranslate2Variable {
    /// The name that the values are stored under; another one where they were asked for by an alias.
    let name: String
    let type: CTranslate2Type
    /// Row-major extents; empty for a setting.
    let shape: [Int]
    /// The bytes, counted from the start of the file; of any alignment.
    let range: Range<Int>
}

/// The file `model.bin` of a CTranslate2 folder, mapped into memory: a version, the name of a specification with its
/// revision, variables with their values, and aliases of variables (CTranslate2's python/ctranslate2/specs/model_spec.py
/// writes it). Everything in it is data: nothing is executed.
///
/// Thread rules: any thread may read. The bytes live as long as `file`.
final class CTranslate2File: Sendable {
    /// The version of the binary form that is read.
    static let version = 6

    let file: MappedFile
    /// What the model is, "WhisperSpec" for instance.
    let specification: String
    let revision: Int
    /// The variables, by their names and by those of their aliases.
    private let variables: [TextKey: CTranslate2Variable]

    /// Throws `.unsupported` for another revision of the specification than the one that is read.
    func require(revision known: Int) throws {
        guard revision == known else {
            throw SeamError(
                .unsupported,
                "\(path): revision \(revision) of \(specification) is not read, only \(known) is; convert the original model"
                    + " with a newer CTranslate2")
        }
    }

    /// Names of variables and aliases, sorted.
    var names: [String] { variables.keys.sorted().map(\.text) }

    var path: String { file.path }

    /// Maps the file and checks the place of everything in it; no values are read.
    ///
    /// Throws as `MappedFile` does, `SeamError(.format)` for what is no such file or damaged, and `.unsupported` for
    /// another version.
    init(_ path: String) throws {
        file = try MappedFile(path)
        var cursor = FileCursor(file.bytes, path: path)
        let version = try cursor.integer(UInt32.self, "the version")
        guard version == Self.version else {
            // No version has ever come near to this; other files begin with letters.
            guard version < 256 else {
                throw cursor.malformed(
                    "it is no model of CTranslate2, whose file begins with the number of its version")
            }
            throw SeamError(
                .unsupported,
                "\(path): version \(version) of CTranslate2's files is not read, only \(Self.version) is; convert the"
                    + " original model with a CTranslate2 that writes it")
        }
        specification = try cursor.countedString("the name of the specification")
        revision = Int(try cursor.integer(UInt32.self, "the revision of the specification"))
        var found = try Self.readVariables(&cursor)
        try Self.readAliases(&cursor, into: &found)
        guard cursor.remaining == 0 else {
            throw cursor.malformed("\(cursor.remaining) bytes at its end belong to nothing")
        }
        variables = found
    }

    /// The variable of that name, or the one that the name is an alias of.
    subscript(_ name: String) -> CTranslate2Variable? { variables[TextKey(name)] }

    /// The bytes of a variable, little endian, valid while `file` lives.
    func bytes(of variable: CTranslate2Variable) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.bytes[variable.range])
    }

    private static func readVariables(_ cursor: inout FileCursor) throws -> [TextKey: CTranslate2Variable] {
        // A name's length, the number of axes, a type and the number of bytes.
        let count = try cursor.smallCount(least: 8, "the number of variables")
        var found: [TextKey: CTranslate2Variable] = [:]
        for number in 0..<count {
            let variable = try readVariable(&cursor, number)
            guard found.updateValue(variable, forKey: TextKey(variable.name)) == nil else {
                throw cursor.malformed("two variables have the name \"\(variable.name)\"")
            }
        }
        return found
    }

    private static func readVariable(_ cursor: inout FileCursor, _ number: Int) throws -> CTranslate2Variable {
        let name = try cursor.countedString("the name of variable \(number)")
        let place = "variable \"\(name)\""
        let rank = try cursor.integer(UInt8.self, place)
        guard rank <= 8 else { throw cursor.malformed("\(place) must have at most 8 axes, found \(rank)") }
        let shape = try (0..<rank).map { _ in Int(try cursor.integer(UInt32.self, place)) }
        let id = try cursor.integer(UInt8.self, place)
        guard let type = CTranslate2Type(rawValue: id) else {
            throw SeamError(
                .unsupported, "\(cursor.path): \(place) has the type \(id), which is none of the format's types 0 to 5")
        }
        let byteCount = Int(try cursor.integer(UInt32.self, place))
        var expected = type.size
        for extent in shape {
            let (product, overflow) = expected.multipliedReportingOverflow(by: extent)
            guard extent > 0, !overflow else { throw cursor.malformed("\(place) has the impossible shape \(shape)") }
            expected = product
        }
        guard byteCount == expected else {
            throw cursor.malformed("\(place) of shape \(shape) takes \(expected) bytes, found \(byteCount)")
        }
        let start = cursor.position
        try cursor.skip(byteCount, "the values of \(place)")
        return CTranslate2Variable(name: name, type: type, shape: shape, range: start..<start + byteCount)
    }

    private static func readAliases(
        _ cursor: inout FileCursor, into found: inout [TextKey: CTranslate2Variable]
    ) throws {
        let stored = found
        let count = try cursor.smallCount(least: 4, "the number of aliases")
        for number in 0..<count {
            let alias = try cursor.countedString("the name of alias \(number)")
            let target = try cursor.countedString("the variable of the alias \"\(alias)\"")
            guard let variable = stored[TextKey(target)] else {
                throw cursor.malformed("\"\(alias)\" is an alias of \"\(target)\", which is no variable of the file")
            }
            guard found.updateValue(variable, forKey: TextKey(alias)) == nil else {
                throw cursor.malformed("the alias \"\(alias)\" is the name of something else, too")
            }
        }
    }
}

extension FileCursor {
    /// A number in 32 bits of things that take at least `least` bytes each.
    fileprivate mutating func smallCount(least: Int, _ place: @autoclosure () -> String) throws -> Int {
        let found = Int(try integer(UInt32.self, place()))
        guard found <= remaining / least else {
            throw malformed("\(place()) is \(found), more than the file's \(bytes.count) bytes can hold")
        }
        return found
    }

    /// A text with its length in 16 bits before it, in which the zero byte that ends it counts.
    fileprivate mutating func countedString(_ place: @autoclosure () -> String) throws -> String {
        let length = Int(try integer(UInt16.self, "the length of \(place())"))
        let start = position
        try skip(length, place())
        let text = bytes[start..<position]
        guard text.last == 0, !text.dropLast().contains(0) else {
            throw malformed("\(place()) must end with a zero byte and hold no other")
        }
        guard let string = String(validating: text.dropLast(), as: UTF8.self) else {
            throw malformed("\(place()) is not UTF-8 text")
        }
        return string
    }
}
