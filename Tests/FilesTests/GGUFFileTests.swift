import Files
import Support
import TestSupport
import Testing

/// The container: header, metadata, tensor listing.
@Suite struct GGUFFileTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    private func open(_ builder: GGUFBuilder) throws -> GGUFFile {
        try GGUFFile(scratch.write("model.gguf", bytes: builder.bytes))
    }

    private func refuse(
        _ code: ErrorCode, _ words: String..., line: SourceLocation = #_sourceLocation,
        _ change: (inout GGUFBuilder) -> Void
    ) throws {
        var builder = GGUFBuilder.llama()
        change(&builder)
        let path = try scratch.write("model.gguf", bytes: builder.bytes)
        for word in words + [path] { expectError(code, word, sourceLocation: line) { try GGUFFile(path) } }
    }

    @Test(arguments: [2, 3] as [UInt32]) func readsEveryTypeOfValue(version: UInt32) throws {
        var builder = GGUFBuilder()
        builder.version = version
        builder.values = [
            ("u8", .init(type: 0, bytes: [200])), ("i8", .init(type: 1, bytes: little(Int8(-3)))),
            ("u16", .init(type: 2, bytes: little(UInt16(60000)))), ("i16", .init(type: 3, bytes: little(Int16(-300)))),
            ("u32", .uint32(4_000_000_000)), ("i32", .init(type: 5, bytes: little(Int32(-70000)))),
            ("f32", .float(1e-5)), ("yes", .init(type: 7, bytes: [1])), ("no", .init(type: 7, bytes: [0])),
            ("text", .string("gr\u{FC}n")), ("texts", .strings(["a", "", "\u{120}b"])),
            ("u64", .init(type: 10, bytes: little(UInt64(1) << 40))),
            ("i64", .init(type: 11, bytes: little(Int64(-1) << 40))),
            ("f64", .init(type: 12, bytes: little((0.1).bitPattern))),
            ("i32s", .array(5, [little(Int32(1)), little(Int32(-2))])), ("u8s", .array(0, [[7], [8], [9]])),
            ("f32s", .array(6, [little(Float(0.5).bitPattern), little(Float(-2).bitPattern)])),
            ("nested", .array(9, [little(UInt32(8)) + little(UInt64(1)) + GGUFBuilder.string([65])])),
            ("empty", .array(8, [])), ("last", .uint32(5)),
        ]
        let file = try open(builder)
        #expect(file.version == Int(version))
        let integers = ["u8": 200, "i8": -3, "u16": 60000, "i16": -300, "u32": 4_000_000_000, "i32": -70000, "last": 5]
        for (key, value) in integers { #expect(try file.int(key) == value) }
        #expect(try file.int("u64") == 1 << 40)
        #expect(try file.int("i64") == -1 << 40)
        #expect(try file.double("f32") == 1e-5)
        #expect(try file.double("f64") == 0.1)
        #expect(try file.double("i8") == -3)
        #expect(try file.bool("yes") == true)
        #expect(try file.bool("no") == false)
        #expect(try file.string("text") == "gr\u{FC}n")
        #expect(try file.strings("texts") == ["a", "", "\u{120}b"])
        #expect(try file.strings("empty") == [])
        #expect(try file.int32s("i32s") == [1, -2])
        #expect(try file.int32s("u8s") == [7, 8, 9])
        #expect(try file.floats("f32s") == [0.5, -2])
        #expect(try file.int("absent") == nil)
        #expect(try file.strings("absent") == nil)
    }

    @Test func valuesOfAnotherTypeAreRefused() throws {
        var builder = GGUFBuilder()
        builder.values = [
            ("text", .string("a")), ("big", .init(type: 10, bytes: little(UInt64.max))), ("nan", .float(.nan)),
            ("odd", .init(type: 7, bytes: [3])), ("texts", .strings(["a"])), ("one", .uint32(1)),
            ("bytes", .init(type: 8, bytes: GGUFBuilder.string([0xFF]))),
            ("wide", .array(10, [little(UInt64(1) << 40)])),
        ]
        let file = try open(builder)
        expectError(.format, file.path, "\"text\" must be an integer, found a string") { try file.int("text") }
        expectError(.format, "\"big\" must be an integer of 63 bits, found 18446744073709551615") {
            try file.int("big")
        }
        expectError(.format, "\"nan\" must be a finite number, found nan") { try file.double("nan") }
        expectError(.format, "\"odd\" must be a boolean, found the byte 3") { try file.bool("odd") }
        expectError(.format, "\"one\" must be a string, found an integer") { try file.string("one") }
        expectError(.format, "\"one\" must be an array of strings, found an integer") { try file.strings("one") }
        expectError(
            .format, "\"texts\" must be an array of 32-bit integers, found an array whose elements are each a string"
        ) {
            try file.int32s("texts")
        }
        expectError(.format, "\"wide\" must be an array of 32-bit integers, found 1099511627776") {
            try file.int32s("wide")
        }
        expectError(.format, "\"texts\" must be an array of f32 numbers") { try file.floats("texts") }
        expectError(.format, "\"bytes\" is not UTF-8 text") { try file.string("bytes") }
        expectError(.format, "\"absent\" is missing, it must be an integer") { try file.requireInt("absent") }
    }

    @Test func tensorsAreRowMajor() throws {
        var builder = GGUFBuilder()
        builder.alignment = 64
        builder["general.alignment"] = .uint32(64)
        builder.add("a", [2, 3], [1, 2, 3, 4, 5, 6])
        builder.add("b", [2, 64], type: 8, bytes: [UInt8](repeating: 1, count: 4 * 34))
        let file = try open(builder)
        #expect(file.tensors.map(\.name) == ["a", "b"])
        #expect(file.tensors.map(\.shape) == [[2, 3], [2, 64]])
        #expect(file.tensors.map(\.type) == [.f32, .q8_0])
        #expect(file.tensors.map(\.range.count) == [24, 136])
        let first = file.tensors[0].range
        #expect(first.lowerBound % 64 == 0)
        #expect(file.file.withBytes { Array($0[first]) } == littleEndian([1, 2, 3, 4, 5, 6] as [Float]))
    }

    @Test func wrongHeadersAreRefused() throws {
        try refuse(.format, "is neither a model folder nor a GGUF file, which begins with \"GGUF\"") {
            $0.magic = [1, 2, 3, 4]
        }
        try refuse(.unsupported, "is a GGUF file for big-endian machines") { $0.magic.reverse() }
        try refuse(.unsupported, "is a GGUF file for big-endian machines") { $0.version = UInt32(3).byteSwapped }
        try refuse(.unsupported, "GGUF version 1 is not read, only 2 and 3 are") { $0.version = 1 }
        try refuse(.unsupported, "GGUF version 4 is not read") { $0.version = 4 }
        try refuse(.format, "the number of tensors is 18446744073709551615, more than the file's") {
            $0.tensorCount = .max
        }
        try refuse(.format, "the number of metadata values is 1099511627776, more than") { $0.valueCount = 1 << 40 }
        try refuse(.unsupported, "is one of 3 parts of a split model") { $0["split.count"] = .uint32(3) }
        expectError(.format, "is empty") { try GGUFFile(scratch.write("model.gguf", bytes: [])) }
    }

    @Test func wrongMetadataAreRefused() throws {
        try refuse(.format, "the key \"llama.block_count\" appears twice") {
            $0.values.append(("llama.block_count", .uint32(1)))
        }
        try refuse(.format, "\"odd\" has the type 13, which is none") { $0["odd"] = .init(type: 13, bytes: []) }
        try refuse(.format, "the number of elements of \"long\" is 1152921504606846976, more than") {
            $0["long"] = .array(4, [], count: 1 << 60)
        }
        try refuse(.format, "the number of elements of \"long\" is 4611686018427387904, more than") {
            $0["long"] = .array(8, [], count: 1 << 62)
        }
        try refuse(.format, "the length of \"text\" is 18446744073709551615, more than") {
            $0["text"] = .init(type: 8, bytes: little(UInt64.max))
        }
        try refuse(.format, "\"deep\" holds arrays more than four levels deep") {
            let level = little(UInt32(9)) + little(UInt64(1))
            $0["deep"] = .init(type: 9, bytes: level + level + level + level + level + level)
        }
        for alignment in [0, 3, 48] as [UInt32] {
            try refuse(.format, "\"general.alignment\" must be a power of two, found \(alignment)") {
                $0["general.alignment"] = .uint32(alignment)
            }
        }
        try refuse(.format, "\"general.alignment\" must be a 32-bit integer, found a string") {
            $0["general.alignment"] = .string("32")
        }
        var bytes = GGUFBuilder.llama().bytes
        bytes[32] = 0xFF
        expectError(.format, "the key of metadata value 0 is not UTF-8") {
            try GGUFFile(scratch.write("model.gguf", bytes: bytes))
        }
    }

    @Test func wrongTensorsAreRefused() throws {
        try refuse(.format, "two tensors have the name \"token_embd.weight\"") {
            $0.tensors[1].name = "token_embd.weight"
        }
        try refuse(.format, "must have 1 to 4 axes, found 0") { $0.tensors[0].extents = [] }
        try refuse(.format, "must have 1 to 4 axes, found 5") { $0.tensors[0].extents = [1, 1, 1, 1, 1] }
        for extents in [[0, 8], [1 << 63, 1], [1 << 32, 1 << 32], [.max, .max]] as [[UInt64]] {
            try refuse(.format, "has the impossible extents") { $0.tensors[0].extents = extents }
        }
        try refuse(.format, "\"token_embd.weight\" reaches beyond the end of the file") {
            $0.tensors[0].extents = [8, 1 << 56]
        }
        try refuse(.format, "\"token_embd.weight\" reaches beyond the end of the file") {
            $0.tensors[0].offset = 1 << 20
        }
        try refuse(.format, "reaches beyond the end of the file") { $0.tensors[0].offset = 0xFFFF_FFFF_FFFF_FFE0 }
        try refuse(.format, "is at the offset 4, not a multiple of 32") { $0.tensors[0].offset = 4 }
        try refuse(.format, "the bytes of the tensors \"token_embd.weight\" and \"output_norm.weight\" overlap") {
            $0.tensors[1].offset = 64
        }
        try refuse(.format, "has rows of 8 values, not a multiple of the 256 of a block of Q4_K") {
            $0.tensors[0].type = 12
        }
        try refuse(.unsupported, "has the type IQ4_XS, which is not read; read are F32, F16, Q4_0") {
            $0.tensors[0].type = 23
        }
        try refuse(.unsupported, "has the type 99, which is not read") { $0.tensors[0].type = 99 }
    }

    /// Whatever is cut off or changed, the answer is a sentence or the right content, never a crash.
    @Test func damagedFilesNeverCrash() throws {
        var builder = GGUFBuilder.llama()
        builder["tokenizer.ggml.model"] = .string("gpt2")
        builder["tokenizer.ggml.tokens"] = .strings(["a", "b", "c"])
        let good = builder.bytes
        func tryOut(_ bytes: [UInt8]) throws {
            let path = try scratch.write("damaged.gguf", bytes: bytes)
            do {
                let model = try ModelFiles(path)
                for name in model.tensorNames {
                    let tensor = try model.requireTensor(name)
                    let sum = withExtendedLifetime(model) { tensor.bytes.reduce(0) { $0 &+ Int($1) } }
                    #expect(sum >= 0)
                }
                _ = try GGUFTokenizerData(GGUFFile(path))
            } catch {
                #expect(error is SeamError, "\(bytes)")
            }
        }
        for length in stride(from: 1, to: good.count, by: 11) {
            try tryOut(Array(good[..<length]))
        }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[.random(in: 4..<min(bytes.count, 900))] = .random(in: .min ... .max)
            }
            try tryOut(bytes)
        }
    }
}
