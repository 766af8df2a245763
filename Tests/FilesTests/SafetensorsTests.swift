import Files
import Support
import TestSupport
import Testing

@Suite struct SafetensorsTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    /// The tensors of Fixtures/python.safetensors, which Python's safetensors 0.8.0 wrote with
    /// `save_file({...}, metadata={"format": "pt"})` from torch tensors of these values.
    private let pythonTensors: [SafetensorsWriter.Tensor] = [
        .init(
            name: "w", type: .float32, shape: [2, 3], bytes: littleEndian([0, 0.25, 0.5, 0.75, 1, 1.25] as [Float])),
        .init(name: "half", type: .float16, shape: [3], bytes: littleEndian([0x3E00, 0xC000, 0x3400] as [UInt16])),
        .init(name: "brain", type: .bfloat16, shape: [3], bytes: littleEndian([0x3FC0, 0xC000, 0x3E80] as [UInt16])),
        .init(name: "double", type: StoredType(rawValue: "F64"), shape: [], bytes: littleEndian([0.1])),
        .init(name: "ids", type: .int64, shape: [2, 1], bytes: littleEndian([1, -2] as [Int64])),
        .init(name: "i32", type: StoredType(rawValue: "I32"), shape: [2], bytes: littleEndian([7, -8] as [Int32])),
        .init(name: "i16", type: StoredType(rawValue: "I16"), shape: [1], bytes: littleEndian([-300] as [Int16])),
        .init(name: "i8", type: StoredType(rawValue: "I8"), shape: [3], bytes: littleEndian([-1, 2, 3] as [Int8])),
        .init(name: "u8", type: .uint8, shape: [1], bytes: [200]),
        .init(name: "mask", type: StoredType(rawValue: "BOOL"), shape: [3], bytes: [1, 0, 1]),
        .init(name: "none", type: .float32, shape: [0, 4], bytes: []),
        .init(name: "a", type: .float32, shape: [1], bytes: littleEndian([9] as [Float])),
    ]

    private func values(_ tensor: SafetensorsWriter.Tensor, in file: SafetensorsFile) throws -> [UInt8] {
        let found = try #require(file[tensor.name])
        #expect(found.type == tensor.type)
        #expect(found.shape == tensor.shape)
        return file.withBytes(of: found) { Array($0) }
    }

    @Test func readsAFileWrittenByPython() throws {
        let file = try SafetensorsFile(fixture("python.safetensors"))
        #expect(file.metadata == ["format": "pt"])
        #expect(file.tensors.count == 12)
        #expect(file["absent"] == nil)
        let weights = try file.withBytes(of: #require(file["w"])) { Array($0.bindMemory(to: Float.self)) }
        #expect(weights == [0, 0.25, 0.5, 0.75, 1, 1.25])
        let ids = try file.withBytes(of: #require(file["ids"])) { Array($0.bindMemory(to: Int64.self)) }
        #expect(ids == [1, -2])
    }

    @Test func writesTheBytesThatPythonWrites() throws {
        let path = FileSystem.join(scratch.path, "out.safetensors")
        let expected = try FileSystem.readBytes(fixture("python.safetensors"))
        for tensors in [pythonTensors, pythonTensors.reversed(), pythonTensors.shuffled()] {
            try SafetensorsWriter.write(tensors, metadata: ["format": "pt"], to: path)
            #expect(try FileSystem.readBytes(path) == expected)
        }
    }

    @Test func readsWhatItWrites() throws {
        let path = FileSystem.join(scratch.path, "out.safetensors")
        let metadata: [TextKey: String] = ["note": "quote \" and\nline é", "empty": "", "a": "1"]
        try SafetensorsWriter.write(pythonTensors, metadata: metadata, to: path)
        let file = try SafetensorsFile(path)
        #expect(file.metadata == metadata)
        for tensor in pythonTensors {
            let bytes = try values(tensor, in: file)
            let size = try #require(
                ["BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "F64": 8, "I64": 8][
                    tensor.type.rawValue])
            #expect(bytes.count == tensor.shape.reduce(size, *))
            #expect(file[tensor.name]!.range.lowerBound % size == 0)
        }
        try SafetensorsWriter.write([], to: path)
        #expect(try SafetensorsFile(path).tensors.isEmpty)
    }

    @Test func namesOfOtherScalarsAreOtherTensors() throws {
        let path = FileSystem.join(scratch.path, "out.safetensors")
        let names = ["\u{E9}", "e\u{301}"]
        try SafetensorsWriter.write(
            names.enumerated().map {
                SafetensorsWriter.Tensor(name: $1, type: .uint8, shape: [1], bytes: [UInt8($0)])
            }, metadata: ["\u{E9}": "one", "e\u{301}": "two"], to: path)
        let file = try SafetensorsFile(path)
        for (number, name) in names.enumerated() {
            let tensor = try #require(file[name])
            #expect(Array(file.bytes(of: tensor)) == [UInt8(number)])
        }
        #expect(file.metadata == ["\u{E9}": "one", "e\u{301}": "two"])
    }

    @Test func writerRefusesWhatDoesNotFit() throws {
        let path = FileSystem.join(scratch.path, "out.safetensors")
        let good = SafetensorsWriter.Tensor(
            name: "w", type: .float32, shape: [2], bytes: littleEndian([1, 2] as [Float]))
        expectError(.invalidArgument, "tensor \"w\"", "appears twice") {
            try SafetensorsWriter.write([good, good], to: path)
        }
        expectError(.invalidArgument, "tensor \"w\"", "shape [3] of F32 takes 12 bytes, found 8") {
            try SafetensorsWriter.write(
                [.init(name: "w", type: .float32, shape: [3], bytes: littleEndian([1, 2] as [Float]))], to: path)
        }
        expectError(.invalidArgument, "takes 8 bytes, found 0") {
            try SafetensorsWriter.write([.init(name: "w", type: .float32, shape: [2], withBytes: { _ in })], to: path)
        }
        expectError(.invalidArgument, "__metadata__", "reserved") {
            try SafetensorsWriter.write([.init(name: "__metadata__", type: .uint8, shape: [0], bytes: [])], to: path)
        }
        expectError(.format, "negative extent -1") {
            try SafetensorsWriter.write([.init(name: "w", type: .uint8, shape: [-1], bytes: [])], to: path)
        }
        expectError(.format, "too large to address") {
            try SafetensorsWriter.write(
                [.init(name: "w", type: .uint8, shape: [1 << 40, 1 << 40], bytes: [])], to: path)
        }
        #expect(try FileSystem.list(scratch.path) == [])
    }

    private func expectRefused(
        _ code: ErrorCode, _ words: String..., bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let path = try scratch.write("bad.safetensors", bytes: bytes)
        for word in words + ["bad.safetensors"] {
            expectError(code, word, sourceLocation: sourceLocation) { try SafetensorsFile(path) }
        }
    }

    @Test func malformedHeadersAreRefused() throws {
        try expectRefused(.format, "at least 8 bytes, found 3", bytes: [1, 2, 3])
        try expectRefused(
            .format, "header of 50 bytes reaches beyond the file of 10 bytes",
            bytes: safetensors("{}", data: 0, length: 50))
        try expectRefused(
            .format, "exceeds the limit of 100000000", bytes: safetensors("{}", data: 0, length: 100_000_001))
        try expectRefused(.format, "exceeds the limit", bytes: safetensors("{}", data: 0, length: .max))
        try expectRefused(.format, "not a safetensors file", "not valid JSON", bytes: safetensors("{\"a\":", data: 0))
        try expectRefused(.format, "empty text", bytes: safetensors("", data: 4))
        try expectRefused(.format, "must be an object, found an array", bytes: safetensors("[]", data: 0))
        try expectRefused(.format, "expected UTF-8", bytes: [2, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0xFF])
        try expectRefused(.format, "the key \"a\" appears twice", bytes: safetensors(#"{"a":1,"a":2}"#, data: 0))
        try expectRefused(
            .format, "\"__metadata__\" must be an object", bytes: safetensors(#"{"__metadata__":1}"#, data: 0))
        try expectRefused(
            .format, "metadata \"k\" must be a string, found an integer",
            bytes: safetensors(#"{"__metadata__":{"k":1}}"#, data: 0))
    }

    private func entry(_ dtype: String, _ shape: String, _ offsets: String) -> String {
        #"{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)}"#
    }

    /// Names and sizes of the types in Rust's safetensors 0.8.0 (`Dtype`), and one that is not there.
    @Test(arguments: [
        ("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8), ("F8_E4M3", 8),
        ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("I16", 16), ("U16", 16), ("F16", 16), ("BF16", 16),
        ("I32", 32), ("U32", 32), ("F32", 32), ("C64", 64), ("F64", 64), ("I64", 64), ("U64", 64), ("NEW", 24),
    ]) func tensorsOfAnyTypeAndRankAreCarriedAlong(dtype: String, bits: Int) throws {
        let path = FileSystem.join(scratch.path, "any.safetensors")
        let header = "{\"w\":\(entry(dtype, "[1,1,1,1,1,1,1,1,8]", "[0,\(bits)]"))}"
        try FileSystem.atomicWriteFile(path, safetensors(header, data: bits))
        let tensor = try #require(try SafetensorsFile(path)["w"])
        #expect(tensor.type.rawValue == dtype && tensor.shape.count == 9 && tensor.range.count == bits)
    }

    @Test func malformedEntriesAreRefused() throws {
        func refuse(
            _ code: ErrorCode, _ words: String, _ entry: String, data: Int = 8, line: SourceLocation = #_sourceLocation
        ) throws {
            try expectRefused(
                code, words, "tensor \"w\"", bytes: safetensors("{\"w\":\(entry)}", data: data), sourceLocation: line)
        }
        try refuse(.format, "its entry must be an object, found null", "null")
        try refuse(.format, "\"dtype\" is missing", #"{"shape":[2],"data_offsets":[0,8]}"#)
        try refuse(.format, "shape [9] of F8_E4M3 takes 9 bytes", entry("F8_E4M3", "[9]", "[0,8]"))
        try refuse(.format, "shape [3] of F4 does not fill whole bytes", entry("F4", "[3]", "[0,8]"))
        try refuse(.format, "\"shape\" must be an array of integers", entry("F32", "[2.0]", "[0,8]"))
        try refuse(.format, "negative extent -2", entry("F32", "[-2]", "[0,8]"))
        try refuse(.format, "too large to address", entry("F32", "[4611686018427387904,4]", "[0,8]"))
        try refuse(.format, "too large to address", entry("F64", "[9223372036854775807]", "[0,8]"))
        try refuse(.format, "\"data_offsets\" must be a begin and an end", entry("F32", "[2]", "[0,8,9]"))
        try refuse(.format, "\"data_offsets\" must be a begin and an end", entry("F32", "[2]", "[8,0]"))
        try refuse(.format, "\"data_offsets\" must be a begin and an end", entry("F32", "[2]", "[-8,0]"))
        try refuse(.format, "begin and an end", entry("U8", "[9223372036854775807]", "[0,9223372036854775807]"))
        try refuse(.format, "shape [2] of F32 takes 8 bytes, \"data_offsets\" span 4", entry("F32", "[2]", "[0,4]"))
        try refuse(.format, "bytes end 8 bytes beyond the file", entry("F32", "[4]", "[0,16]"))
        try refuse(.format, "2 bytes before it belong to no tensor", entry("U8", "[6]", "[2,8]"))
    }

    @Test func theDataMustBeFilledWithoutOverlap() throws {
        let overlapping = "{\"w\":\(entry("U8", "[8]", "[0,8]")),\"v\":\(entry("U8", "[4]", "[4,8]"))}"
        try expectRefused(.format, "tensor \"v\"", "overlap those of \"w\"", bytes: safetensors(overlapping, data: 8))
        let holed = "{\"w\":\(entry("U8", "[2]", "[0,2]")),\"v\":\(entry("U8", "[2]", "[6,8]"))}"
        try expectRefused(.format, "4 bytes before it belong to no tensor", bytes: safetensors(holed, data: 8))
        let short = "{\"w\":\(entry("U8", "[2]", "[0,2]"))}"
        try expectRefused(.format, "6 bytes at its end belong to no tensor", bytes: safetensors(short, data: 8))
        // The order of the header's entries is free.
        let swapped = "{\"w\":\(entry("U8", "[4]", "[4,8]")),\"v\":\(entry("U8", "[4]", "[0,4]"))}"
        let file = try SafetensorsFile(scratch.write("swapped", bytes: safetensors(swapped, data: 8)))
        #expect(file.tensors.map(\.name) == ["v", "w"])
    }

    @Test func damagedFilesNeverCrash() throws {
        let good = try FileSystem.readBytes(fixture("python.safetensors"))
        var random = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[.random(in: 0..<bytes.count)] = "0123456789{}[]:,\"-e \u{7}".utf8.randomElement()!
            }
            if Bool.random() { bytes.removeLast(.random(in: 1..<bytes.count)) }
            let path = try scratch.write("damaged.safetensors", bytes: bytes)
            do {
                let file = try SafetensorsFile(path)
                for tensor in file.tensors {
                    let sum = file.withBytes(of: tensor) { $0.reduce(0) { $0 &+ Int($1) } }
                    #expect(sum >= 0)
                }
            } catch {
                #expect(error is SeamError, "\(bytes)")
            }
        }
    }
}
