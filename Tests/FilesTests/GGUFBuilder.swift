/// A GGUF file, built value by value, right or wrong.
struct GGUFBuilder {
    /// A metadata value: its type's number and its bytes.
    struct Value {
        let type: UInt32
        let bytes: [UInt8]

        static func uint32(_ value: UInt32) -> Value { Value(type: 4, bytes: little(value)) }
        static func float(_ value: Float) -> Value { Value(type: 6, bytes: little(value.bitPattern)) }
        static func string(_ text: String) -> Value { Value(type: 8, bytes: GGUFBuilder.string(Array(text.utf8))) }
        static func strings(_ texts: [String]) -> Value { array(8, texts.map { GGUFBuilder.string(Array($0.utf8)) }) }
        static func array(_ type: UInt32, _ elements: [[UInt8]], count: UInt64? = nil) -> Value {
            Value(type: 9, bytes: little(type) + little(count ?? UInt64(elements.count)) + elements.flatMap { $0 })
        }
    }

    struct Tensor {
        var name: String
        var type: UInt32 = 0
        /// As the file lists them: the contiguous axis first.
        var extents: [UInt64]
        var offset: UInt64
    }

    var magic = Array("GGUF".utf8)
    var version: UInt32 = 3
    var values: [(key: String, value: Value)] = []
    var tensors: [Tensor] = []
    var tensorCount: UInt64?
    var valueCount: UInt64?
    var alignment = 32
    /// Bytes of the tensors.
    var data: [UInt8] = []

    var bytes: [UInt8] {
        var result = magic + little(version) + little(tensorCount ?? UInt64(tensors.count))
        result += little(valueCount ?? UInt64(values.count))
        for (key, value) in values { result += Self.string(Array(key.utf8)) + little(value.type) + value.bytes }
        for tensor in tensors {
            result += Self.string(Array(tensor.name.utf8)) + little(UInt32(tensor.extents.count))
            result += tensor.extents.flatMap { little($0) } + little(tensor.type) + little(tensor.offset)
        }
        result += [UInt8](repeating: 0, count: -result.count & (alignment - 1))
        return result + data
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] { little(UInt64(bytes.count)) + bytes }

    /// Appends an F32 tensor, given row-major, or one of other bytes.
    mutating func add(_ name: String, _ shape: [Int], _ floats: [Float]) {
        add(name, shape, type: 0, bytes: littleEndian(floats))
    }

    mutating func add(_ name: String, _ shape: [Int], type: UInt32, bytes: [UInt8]) {
        tensors.append(
            Tensor(name: name, type: type, extents: shape.reversed().map { UInt64($0) }, offset: UInt64(data.count)))
        data += bytes + [UInt8](repeating: 0, count: -bytes.count & (alignment - 1))
    }

    subscript(key: String) -> Value? {
        get { values.first { $0.key == key }?.value }
        set {
            values.removeAll { $0.key == key }
            if let newValue { values.append((key, newValue)) }
        }
    }

    /// A model of three tokens and nothing else, with settings that get the architecture's name before theirs.
    static func model(_ architecture: String, _ settings: [(key: String, value: Value)]) -> GGUFBuilder {
        var file = GGUFBuilder()
        file.values =
            [("general.architecture", .string(architecture))]
            + settings.map { ("\(architecture).\($0.key)", $0.value) }
        file.add("token_embd.weight", [3, 8], [Float](repeating: 0, count: 24))
        return file
    }

    /// A llama model of one layer: d_model 8, two heads, one of them for keys.
    static func llama() -> GGUFBuilder {
        var file = GGUFBuilder()
        file.values = [
            ("general.architecture", .string("llama")), ("llama.block_count", .uint32(1)),
            ("llama.context_length", .uint32(64)), ("llama.embedding_length", .uint32(8)),
            ("llama.feed_forward_length", .uint32(12)), ("llama.attention.head_count", .uint32(2)),
            ("llama.attention.head_count_kv", .uint32(1)),
            ("llama.attention.layer_norm_rms_epsilon", .float(1e-5)),
        ]
        file.add("token_embd.weight", [3, 8], (0..<24).map { Float($0) })
        file.add("output_norm.weight", [8], [Float](repeating: 1, count: 8))
        for (part, rows) in [("attn_q", 8), ("attn_k", 4), ("attn_v", 4)] {
            file.add("blk.0.\(part).weight", [rows, 8], (0..<rows * 8).map { Float($0) })
        }
        return file
    }
}

func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
}
