import Files
import Support

/// One file of a feature cache, mapped: a safetensors file with `scores` [rows, words] and `hidden` [rows, width] in
/// f32, `texts` (the bytes of all inputs, one after the other), `offsets` [rows + 1] of where each starts, and `hashes`
/// [rows], the XXH64 of each. The metadata hold the key and a hash of all values.
struct FeatureShard {
    static let format = "seam features 1"

    let file: SafetensorsFile
    let count: Int
    private let words: Int
    private let width: Int

    /// Rows that are to be written.
    struct Rows {
        var texts: [UInt8] = []
        var offsets: [Int64] = [0]
        var hashes: [UInt64] = []
        var scores: [Float] = []
        var hidden: [Float] = []

        var count: Int { hashes.count }
        var byteCount: Int { texts.count + 16 * count + 4 * (scores.count + hidden.count) }

        mutating func append(
            text: some Collection<UInt8>, hash: UInt64, scores: some Collection<Float>, hidden: some Collection<Float>
        ) {
            texts += text
            offsets.append(Int64(texts.count))
            hashes.append(hash)
            self.scores += scores
            self.hidden += hidden
        }
    }

    /// Writes rows, 1 or more, to a new file, atomically. Throws `SeamError(.io)` when the disk is full or fails; then
    /// there is no file.
    static func write(_ rows: Rows, key: String, words: Int, width: Int, to path: String) throws {
        func tensor<Element>(_ name: String, _ type: StoredType, _ shape: [Int], _ values: [Element])
            -> SafetensorsWriter.Tensor
        {
            .init(name: name, type: type, shape: shape) { body in try values.withUnsafeBytes { try body($0) } }
        }
        var checksum = ContentHash()
        rows.offsets.withUnsafeBytes { checksum.update($0) }
        rows.hashes.withUnsafeBytes { checksum.update($0) }
        rows.hidden.withUnsafeBytes { checksum.update($0) }
        rows.scores.withUnsafeBytes { checksum.update($0) }
        rows.texts.withUnsafeBytes { checksum.update($0) }
        try SafetensorsWriter.write(
            [
                tensor("offsets", .int64, [rows.count + 1], rows.offsets),
                tensor("hashes", .int64, [rows.count], rows.hashes),
                tensor("hidden", .float32, [rows.count, width], rows.hidden),
                tensor("scores", .float32, [rows.count, words], rows.scores),
                tensor("texts", .uint8, [rows.texts.count], rows.texts),
            ],
            metadata: ["format": format, "key": key, "checksum": checksum.hex], to: path)
    }

    /// Maps a file and checks all of it.
    ///
    /// Throws `SeamError` naming the file: as `SafetensorsFile`, and `.format` for a file of another program, of
    /// another key or width, or with values that changed since they were written.
    init(_ path: String, key: String, words: Int, width: Int) throws {
        file = try SafetensorsFile(path)
        self.words = words
        self.width = width
        guard file.metadata["format"] == Self.format, let hashes = file["hashes"], hashes.shape.count == 1 else {
            throw Self.unusable(path, "it was not written by this version of the feature cache")
        }
        count = hashes.shape[0]
        guard let found = file.metadata["key"], found.utf8.elementsEqual(key.utf8) else {
            throw Self.unusable(path, "it holds features of another model, template or list of words")
        }
        try check("hidden", .float32, [count, width])
        try check("scores", .float32, [count, words])
        try check("hashes", .int64, [count])
        try check("offsets", .int64, [count + 1])
        guard let texts = file["texts"], texts.type == .uint8, texts.shape.count == 1 else {
            throw Self.unusable(path, "it holds no texts")
        }
        var checksum = ContentHash()
        for name in ["offsets", "hashes", "hidden", "scores", "texts"] { bytes(name) { checksum.update($0) } }
        guard file.metadata["checksum"] == checksum.hex else {
            throw Self.unusable(path, "its values changed since they were written")
        }
        var start = 0
        for row in 0...count {
            let offset = self.offset(row)
            guard row == 0 ? offset == 0 : offset >= start, offset <= texts.range.count else {
                throw Self.unusable(path, "its offsets do not rise from 0 to the end of the texts")
            }
            start = offset
        }
    }

    private static func unusable(_ path: String, _ reason: String) -> SeamError {
        SeamError(
            .format, "\"\(path)\" cannot be used as cached features, \(reason); delete it to have them made again")
    }

    private func check(_ name: String, _ type: StoredType, _ shape: [Int]) throws {
        guard let tensor = file[name], tensor.type == type, tensor.shape == shape else {
            let found = file[name].map { "\($0.type.rawValue) \($0.shape)" } ?? "none"
            throw Self.unusable(file.path, "\"\(name)\" must be \(type.rawValue) \(shape), found \(found)")
        }
    }

    /// Calls `body` with a tensor's bytes; `init` has checked that it is there.
    private func bytes<Result>(_ name: String, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        guard let tensor = file[name] else { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
        return try file.withBytes(of: tensor, body)
    }

    private func offset(_ row: Int) -> Int {
        bytes("offsets") { Int(truncatingIfNeeded: $0.loadUnaligned(fromByteOffset: 8 * row, as: Int64.self)) }
    }

    /// The hashes of all rows.
    var hashes: [UInt64] {
        bytes("hashes") { bytes in
            (0..<count).map { bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self) }
        }
    }

    /// Whether the row holds this input.
    func holds(_ text: [UInt8], at row: Int) -> Bool {
        let range = offset(row)..<offset(row + 1)
        return bytes("texts") { $0[range].elementsEqual(text) }
    }

    /// The bytes of a row's input.
    func text(_ row: Int) -> [UInt8] {
        let range = offset(row)..<offset(row + 1)
        return bytes("texts") { Array($0[range]) }
    }

    /// Copies a row's word scores and hidden state to the places where the buffers begin.
    func copy(_ row: Int, scores: UnsafeMutableRawBufferPointer, hidden: UnsafeMutableRawBufferPointer) {
        bytes("scores") { scores.copyMemory(from: .init(rebasing: $0[row * 4 * words..<(row + 1) * 4 * words])) }
        bytes("hidden") { hidden.copyMemory(from: .init(rebasing: $0[row * 4 * width..<(row + 1) * 4 * width])) }
    }
}
