import CSeam
import Files
import Glibc
import Support
import Synchronization

/// Names to values, as plugins read them: an adapter's resolved options, or a model's config.json with the keys of
/// nested objects joined by dots, and the elements of lists by their numbers. Values are replaced by
/// one thread, before any other reads.
public final class Configuration {
    /// What no key of an object leads further into, and the objects by their own keys.
    private var values: [TextKey: JSON]
    private var objects: [TextKey: JSON] = [:]
    private let order: [String]
    /// The whole as it was given, until a value is replaced.
    private var whole: JSON?
    /// The addresses of C copies of the strings handed to plugins, alive as long as this object: a replaced value's old
    /// copy may still be in a plugin's hands. Plugins may read on several threads at once.
    private let copies = Mutex<[TextKey: [UInt]]>([:])

    /// Objects within objects beyond this depth are one value, so that a file cannot make keys as long as itself.
    private static let mostDepth = 32

    /// Every value of a JSON object that is no object. A list is one value; what is in it is looked up when it is asked
    /// for.
    public init(flattening json: JSON) {
        var flat: [(String, JSON)] = []
        var objects: [TextKey: JSON] = [:]
        func visit(_ prefix: String, _ value: JSON, _ depth: Int) {
            guard case .object(let members) = value, depth <= Self.mostDepth else {
                flat.append((prefix, value))
                return
            }
            if !prefix.isEmpty, objects[TextKey(prefix)] == nil { objects[TextKey(prefix)] = value }
            for member in members {
                visit(prefix.isEmpty ? member.key : prefix + "." + member.key, member.value, depth + 1)
            }
        }
        visit("", json, 0)
        values = Dictionary(flat.map { (TextKey($0), $1) }, uniquingKeysWith: { first, _ in first })
        order = flat.map(\.0)
        whole = json
        self.objects = objects
    }

    deinit {
        copies.withLock {
            for address in $0.values.joined() { UnsafeMutablePointer<CChar>(bitPattern: address)?.deallocate() }
        }
    }

    /// A value that is no object, or an element of a list ("eos_token_id.1"); nil where there is none or it is null.
    public subscript(key: String) -> JSON? {
        guard let value = values[TextKey(key)] ?? element(key), value != .null else { return nil }
        return value
    }

    /// What a key leads to within the list that the longest part of it names.
    private func element(_ key: String) -> JSON? {
        var end = key.endIndex
        while let dot = key[..<end].lastIndex(of: ".") {
            if let list = values[TextKey(key[..<dot])] {
                guard case .array = list else { return nil }
                return list.value(at: String(key[key.index(after: dot)...]))
            }
            end = dot
        }
        return nil
    }

    /// Any value, objects and the whole ("") too.
    fileprivate func any(_ key: String) -> JSON? {
        if key.isEmpty { return whole ?? json }
        return self[key] ?? objects[TextKey(key)]
    }

    /// Throws `SeamError(.format)`, naming the file that the values are of, for a string that a C string would cut.
    func checkStrings(of file: String) throws {
        for key in order {
            guard case .string(let text)? = values[TextKey(key)], text.utf8.contains(0) else { continue }
            throw SeamError(
                .format,
                "\(file): \"\(key)\" must be a string without the character U+0000, found"
                    + " \(try JSON.string(text).serialized())")
        }
    }

    /// The values in declared order, as a JSON object.
    public var json: JSON { .object(order.map { (key: $0, value: values[TextKey($0)] ?? .null) }) }

    func set(_ key: String, _ value: JSON) -> Bool {
        guard values[TextKey(key)] != nil else { return false }
        values[TextKey(key)] = value
        whole = nil
        return true
    }

    fileprivate func cString(_ key: String, _ text: String) -> UnsafePointer<CChar> {
        let address = copies.withLock { copies -> UInt in
            let known = copies[TextKey(key)]?.first { strcmp(UnsafePointer(bitPattern: $0)!, text) == 0 }
            if let known { return known }
            let copy = UInt(bitPattern: copyCString(text))
            copies[TextKey(key), default: []].append(copy)
            return copy
        }
        return UnsafePointer(bitPattern: address)!
    }

    /// JSON text of a value, borrowed as strings are. The key is one that no string has: a plugin's keys are C strings.
    fileprivate func jsonText(_ key: String, _ value: JSON) -> UnsafePointer<CChar>? {
        (try? value.serialized()).map { cString("\u{0}json " + key, $0) }
    }

    /// The handle for the C border, borrowed: valid as long as this object.
    package var handle: OpaquePointer { OpaquePointer(Unmanaged.passUnretained(self).toOpaque()) }

    static func from(_ handle: OpaquePointer?) -> Configuration? {
        handle.map { Unmanaged<Configuration>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
    }

    /// The typed reads of `seam_host`.
    static func install(in host: inout seam_host) {
        host.config_bool = { config, key, out in
            read(config, key, out) { if case .bool(let value) = $0 { Int32(value ? 1 : 0) } else { nil } }
        }
        host.config_int = { config, key, out in
            read(config, key, out) { if case .int(let value) = $0 { value } else { nil } }
        }
        host.config_double = { config, key, out in read(config, key, out) { $0.doubleValue } }
        host.config_string = { config, key, out in
            guard let configuration = Configuration.from(config), let key, let out else {
                return ErrorCode.invalidArgument.rawValue
            }
            let name = String(cString: key)
            guard let value = configuration.any(name) else { return ErrorCode.notFound.rawValue }
            // What a C string would cut is not the text that was asked for.
            guard case .string(let text) = value, !text.utf8.contains(0) else {
                return ErrorCode.invalidArgument.rawValue
            }
            out.pointee = configuration.cString(name, text)
            return 0
        }
        host.config_count = { config, key, out in
            guard let configuration = Configuration.from(config), let key, let out else {
                return ErrorCode.invalidArgument.rawValue
            }
            switch configuration.any(String(cString: key)) {
            case nil: return ErrorCode.notFound.rawValue
            case .array(let elements)?: out.pointee = Int64(elements.count)
            case .object(let members)?: out.pointee = Int64(members.count)
            default: return ErrorCode.invalidArgument.rawValue
            }
            return 0
        }
        host.config_json = { config, key, out in
            guard let configuration = Configuration.from(config), let key, let out else {
                return ErrorCode.invalidArgument.rawValue
            }
            let name = String(cString: key)
            // A null is there, unlike to the readers of one type.
            let isNull = configuration.values[TextKey(name)] == .null
            guard let value = isNull ? .null : configuration.any(name) else { return ErrorCode.notFound.rawValue }
            guard let text = configuration.jsonText(name, value) else { return ErrorCode.invalidArgument.rawValue }
            out.pointee = text
            return 0
        }
        host.config_set_string = { config, key, value in
            guard let configuration = Configuration.from(config), let key, let value else {
                return ErrorCode.invalidArgument.rawValue
            }
            return configuration.set(String(cString: key), .string(String(cString: value)))
                ? 0 : ErrorCode.notFound.rawValue
        }
    }
}

private func read<Value>(
    _ config: OpaquePointer?, _ key: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Value>?,
    _ convert: (JSON) -> Value?
) -> seam_status {
    guard let configuration = Configuration.from(config), let key, let out else {
        return ErrorCode.invalidArgument.rawValue
    }
    guard let value = configuration.any(String(cString: key)) else { return ErrorCode.notFound.rawValue }
    guard let converted = convert(value) else { return ErrorCode.invalidArgument.rawValue }
    out.pointee = converted
    return 0
}
