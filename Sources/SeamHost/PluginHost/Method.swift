@preconcurrency import CFFI
import CSeam
import Engine
import Support

/// A function of a plugin's own, called by name with checked arguments (`seam_method`).
public struct Method: @unchecked Sendable {
    // `@unchecked` is safe: the function pointer is a constant of the loaded library.

    /// What may cross: the argument and result types of a method's C prototype.
    public enum ValueType: String, Sendable {
        case void = "void"
        case int = "int64_t"
        case double = "double"
        case string = "const char *"
        case tensor = "seam_tensor *"
    }

    public enum Value {
        case void
        case int(Int64)
        case double(Double)
        case string(String)
        case tensor(Tensor)

        var type: ValueType {
            switch self {
            case .void: .void
            case .int: .int
            case .double: .double
            case .string: .string
            case .tensor: .tensor
            }
        }
    }

    public let name: String
    public let signature: String
    public let doc: String
    public let result: ValueType
    public let arguments: [ValueType]
    /// Whether a trainer records its value over the steps.
    public let isRecorded: Bool
    private let function: @convention(c) () -> Void

    /// - Parameter owner: the adapter that declares it, for a sentence.
    init(_ source: UnsafePointer<seam_method>, owner: String, origin: String) throws {
        let source = try bounded(source, atLeast: SEAM_METHOD_SIZE_1_0, "a method of \(owner)", origin: origin)
        let name = try checkedName(source.name, "a method name of \(owner)", origin: origin)
        guard let function = source.function, let signature = source.signature.map({ String(cString: $0) })
        else { throw SeamError(.plugin, "method \"\(name)\" lacks its signature or function", origin: origin) }
        guard let (result, arguments) = Self.parse(signature) else {
            throw SeamError(
                .plugin,
                "method \"\(name)\": the signature must be like \"seam_tensor *(void *, const seam_pass *, double)\", with the instance and the pass first, found \"\(signature)\"",
                origin: origin)
        }
        self.name = name
        self.signature = signature
        self.function = function
        self.result = result
        self.arguments = arguments
        doc = source.doc.map { String(cString: $0) } ?? ""
        isRecorded = source.flags & UInt32(SEAM_METHOD_RECORDED) != 0
        guard !isRecorded || (result == .tensor && arguments.isEmpty) else {
            throw SeamError(
                .plugin,
                "method \"\(name)\" is recorded: it must give a tensor and take nothing, found \"\(signature)\"",
                origin: origin)
        }
    }

    /// Result and arguments after the leading `void *, const seam_pass *` of a prototype without names; nil if it is none.
    package static func parse(_ signature: String) -> (ValueType, [ValueType])? {
        func words(_ text: Substring) -> String {
            text.replacing("*", with: " * ").split(separator: " ").joined(separator: " ")
        }
        func type(_ text: Substring) -> ValueType? { ValueType(rawValue: words(text)) }
        guard let open = signature.firstIndex(of: "("), signature.hasSuffix(")"),
            let result = type(signature[..<open])
        else { return nil }
        let inside = signature[signature.index(after: open)...].dropLast()
        let parts = inside.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.prefix(2).map(words) == ["void *", "const seam_pass *"] else { return nil }
        var arguments: [ValueType] = []
        for part in parts.dropFirst(2) {
            guard let argument = type(part), argument != .void else { return nil }
            arguments.append(argument)
        }
        return (result, arguments)
    }

    /// Calls the function through libffi. Failures that the method latched are the caller's to check on the context.
    func call(
        _ instance: UnsafeMutableRawPointer?, _ pass: UnsafePointer<seam_pass>, _ given: [Value], origin: String
    ) throws -> Value {
        guard given.count == arguments.count else {
            throw SeamError(
                .invalidArgument,
                "method \"\(name)\" takes \(arguments.count) argument\(arguments.count == 1 ? "" : "s") (\(signature)), found \(given.count)",
                origin: origin)
        }
        var strings: [UnsafeMutablePointer<CChar>] = []
        defer { for string in strings { string.deallocate() } }
        // Every argument fits eight bytes: one slot each, and the types that libffi reads them as.
        var slots = [UInt64(UInt(bitPattern: instance)), UInt64(UInt(bitPattern: pass))]
        var types: [UnsafeMutablePointer<ffi_type>?] = [ffiType(.tensor), ffiType(.tensor)]
        for (index, (value, expected)) in zip(given, arguments).enumerated() {
            let slot: UInt64
            switch (value, expected) {
            case (.int(let number), .int): slot = UInt64(bitPattern: number)
            case (.int(let number), .double): slot = Double(number).bitPattern
            case (.double(let number), .double): slot = number.bitPattern
            case (.string(let text), .string):
                strings.append(copyCString(text))
                slot = UInt64(UInt(bitPattern: strings.last!))
            case (.tensor(let tensor), .tensor): slot = UInt64(UInt(bitPattern: tensor.handle))
            default:
                throw SeamError(
                    .invalidArgument,
                    "method \"\(name)\": argument \(index + 1) must be \(expected.rawValue), found \(value.type.rawValue)",
                    origin: origin)
            }
            slots.append(slot)
            types.append(ffiType(expected))
        }
        var interface = ffi_cif()
        let outcome: UInt64 = try slots.withUnsafeMutableBufferPointer { slots in
            var values = (0..<slots.count).map {
                UnsafeMutableRawPointer(slots.baseAddress! + $0) as UnsafeMutableRawPointer?
            }
            return try types.withUnsafeMutableBufferPointer { types in
                let status = ffi_prep_cif(
                    &interface, FFI_DEFAULT_ABI, UInt32(types.count), ffiType(result), types.baseAddress!)
                guard status == FFI_OK else {
                    throw SeamError(.internal, "libffi refused the signature \"\(signature)\"", origin: origin)
                }
                var returned: UInt64 = 0
                ffi_call(&interface, function, &returned, &values)
                return returned
            }
        }
        switch result {
        case .void: return .void
        case .int: return .int(Int64(bitPattern: outcome))
        case .double: return .double(Double(bitPattern: outcome))
        case .string: return .string(UnsafePointer<CChar>(bitPattern: UInt(outcome)).map { String(cString: $0) } ?? "")
        case .tensor:
            guard let handle = OpaquePointer(bitPattern: UInt(outcome)) else { return .void }
            return .tensor(Tensor.from(handle))
        }
    }
}

private func ffiType(_ type: Method.ValueType) -> UnsafeMutablePointer<ffi_type> {
    // libffi's type descriptions are constants of the library.
    switch type {
    case .void: withUnsafeMutablePointer(to: &ffi_type_void) { $0 }
    case .int: withUnsafeMutablePointer(to: &ffi_type_sint64) { $0 }
    case .double: withUnsafeMutablePointer(to: &ffi_type_double) { $0 }
    case .string, .tensor: withUnsafeMutablePointer(to: &ffi_type_pointer) { $0 }
    }
}
