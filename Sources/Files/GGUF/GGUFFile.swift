import Support

/// One tensor of a GGUF file.
public struct GGUFTensor: Sendable, Equatable {
    /// Unique within its file.
    public let name: String
    public let type: GGMLType
    /// Row-major extents, the last one contiguous (the file lists them the other way round).
    public let shape: [Int]
    /// The tensor's bytes, counted from the start of the file.
    public let range: Range<Int>
}

/// A GGUF file (versions 2 and 3, little endian), mapped into memory. Opening it checks the places of everything in it;
/// metadata are read when they are asked for, so that a large vocabulary costs nothing before.
///
/// Thread rules: any thread may read. The bytes live as long as `file`.
public final class GGUFFile: Sendable {
    /// The mapping that owns the bytes.
    public let file: MappedFile
    /// 2 or 3.
    public let version: Int
    /// The tensors in the order of their listing.
    public let tensors: [GGUFTensor]
    let entries: [TextKey: GGUFEntry]

    /// The keys of the metadata, sorted.
    public var keys: [String] { entries.keys.map(\.text).sortedExactly() }

    /// The path as given to `init`.
    public var path: String { file.path }

    /// Maps the file and checks its header, the extents of its metadata, and its tensors' names, shapes and places.
    ///
    /// Throws as `MappedFile` does, `SeamError(.format)` for what is not a GGUF file or damaged, and `.unsupported` for
    /// another version or byte order, a part of a split model, and tensors of a type that is not read.
    public init(_ path: String) throws {
        file = try MappedFile(path)
        var cursor = FileCursor(file.bytes, path: path)
        version = try Self.readVersion(&cursor)
        // A tensor takes a name's length, the number of axes, a type and an offset; a value a key's length and a type.
        let tensorCount = try cursor.count(least: 24, "the number of tensors")
        let entryCount = try cursor.count(least: 13, "the number of metadata values")
        entries = try Self.readEntries(&cursor, entryCount)
        let alignment = try Self.alignment(entries["general.alignment"], file.bytes, path)
        tensors = try Self.readTensors(&cursor, tensorCount, alignment)
        if let parts = try int("split.count"), parts > 1 {
            throw SeamError(.unsupported, "\(path) is one of \(parts) parts of a split model; merge them into one file")
        }
    }

    /// The GGUF file that a model's path stands for: the path itself if it is a file, or the only such file of a folder
    /// without config.json; nil for other folders.
    ///
    /// Throws `SeamError(.invalidArgument)` for a folder with several, and `.io` for one that cannot be listed.
    public static func locate(_ path: String) throws -> String? {
        guard FileSystem.isDirectory(path) else { return path }
        let names = try FileSystem.list(path)
        guard !names.contains("config.json") else { return nil }
        let candidates = names.filter { $0.hasSuffix(".gguf") }
        guard candidates.count < 2 else {
            throw SeamError(
                .invalidArgument,
                "the model folder \"\(path)\" holds \(candidates.count) GGUF files, name one of them:"
                    + " \(candidates.prefix(10).joined(separator: ", "))")
        }
        return candidates.first.map { FileSystem.join(path, $0) }
    }

    private static func readVersion(_ cursor: inout FileCursor) throws -> Int {
        let magic = cursor.bytes.prefix(4)
        let bigEndian = SeamError(
            .unsupported, "\(cursor.path) is a GGUF file for big-endian machines; convert it to little endian")
        if magic.elementsEqual("FUGG".utf8) { throw bigEndian }
        guard magic.elementsEqual("GGUF".utf8) else {
            throw SeamError(
                .format, "\(cursor.path) is neither a model folder nor a GGUF file, which begins with \"GGUF\"")
        }
        try cursor.skip(4, "the header")
        let version = try cursor.integer(UInt32.self, "the header")
        if version & 0xFFFF == 0, version != 0 { throw bigEndian }
        guard version == 2 || version == 3 else {
            throw SeamError(.unsupported, "\(cursor.path): GGUF version \(version) is not read, only 2 and 3 are")
        }
        return Int(version)
    }

    private static func readEntries(_ cursor: inout FileCursor, _ count: Int) throws -> [TextKey: GGUFEntry] {
        var entries: [TextKey: GGUFEntry] = [:]
        for number in 0..<count {
            let key = try cursor.string("the key of metadata value \(number)")
            let type = try cursor.valueType("\"\(key)\"")
            let entry = try cursor.entry(type, "\"\(key)\"")
            guard entries.updateValue(entry, forKey: TextKey(key)) == nil else {
                throw cursor.malformed("the key \"\(key)\" appears twice")
            }
        }
        return entries
    }

    private static func alignment(_ entry: GGUFEntry?, _ bytes: UnsafeRawBufferPointer, _ path: String) throws -> Int {
        guard let entry else { return 32 }
        guard entry.type == .uint32 else {
            throw SeamError(
                .format, "\(path): \"general.alignment\" must be a 32-bit integer, found \(entry.type.kind)")
        }
        var cursor = FileCursor(bytes, path: path, at: entry.offset)
        let alignment = try cursor.integer(UInt32.self, "\"general.alignment\"")
        guard alignment.nonzeroBitCount == 1 else {
            throw cursor.malformed("\"general.alignment\" must be a power of two, found \(alignment)")
        }
        return Int(alignment)
    }

    /// A tensor as the file lists it: extents last axis first, the offset counted from the first tensor's bytes.
    private struct Listing {
        let name: String
        let type: GGMLType
        let shape: [Int]
        let byteCount: Int
        let offset: UInt64
    }

    private static func readTensors(_ cursor: inout FileCursor, _ count: Int, _ alignment: Int) throws -> [GGUFTensor] {
        var names: Set<TextKey> = []
        var listings: [Listing] = []
        for number in 0..<count {
            let listing = try readListing(&cursor, number)
            guard names.insert(TextKey(listing.name)).inserted else {
                throw cursor.malformed("two tensors have the name \"\(listing.name)\"")
            }
            listings.append(listing)
        }
        // No overflow: positions are below the file's size and the alignment has 32 bits.
        let start = (cursor.position + alignment - 1) / alignment * alignment
        let tensors = try listings.map { listing in
            guard listing.offset % UInt64(alignment) == 0 else {
                throw cursor.malformed(
                    "tensor \"\(listing.name)\" is at the offset \(listing.offset), not a multiple of \(alignment)")
            }
            let space = cursor.bytes.count - start - listing.byteCount
            guard space >= 0, listing.offset <= UInt64(space) else {
                throw cursor.malformed(
                    "tensor \"\(listing.name)\" reaches beyond the end of the file, which may be an incomplete"
                        + " download")
            }
            let first = start + Int(listing.offset)
            return GGUFTensor(
                name: listing.name, type: listing.type, shape: listing.shape, range: first..<first + listing.byteCount)
        }
        let sorted = tensors.sorted { $0.range.lowerBound < $1.range.lowerBound }
        for (one, next) in zip(sorted, sorted.dropFirst()) where one.range.upperBound > next.range.lowerBound {
            throw cursor.malformed("the bytes of the tensors \"\(one.name)\" and \"\(next.name)\" overlap")
        }
        return tensors
    }

    private static func readListing(_ cursor: inout FileCursor, _ number: Int) throws -> Listing {
        let name = try cursor.string("the name of tensor \(number)")
        let rank = try cursor.integer(UInt32.self, "tensor \"\(name)\"")
        guard (1...4).contains(rank) else {
            throw cursor.malformed("tensor \"\(name)\" must have 1 to 4 axes, found \(rank)")
        }
        let extents = try (0..<rank).map { _ in try cursor.integer(UInt64.self, "tensor \"\(name)\"") }
        let number = try cursor.integer(UInt32.self, "tensor \"\(name)\"")
        guard let type = GGMLType(rawValue: number) else {
            throw SeamError(
                .unsupported,
                "\(cursor.path): tensor \"\(name)\" has the type \(GGMLType.otherNames[number] ?? "\(number)"), which"
                    + " is not read; read are \(GGMLType.allCases.map(\.name).joined(separator: ", "))")
        }
        let offset = try cursor.integer(UInt64.self, "tensor \"\(name)\"")
        var count = 1
        for extent in extents {
            let (product, overflow) = count.multipliedReportingOverflow(by: Int(clamping: extent))
            guard extent > 0, !overflow, product <= Int.max / 4 else {
                throw cursor.malformed("tensor \"\(name)\" has the impossible extents \(extents)")
            }
            count = product
        }
        guard extents[0] % UInt64(type.blockLength) == 0 else {
            throw cursor.malformed(
                "tensor \"\(name)\" has rows of \(extents[0]) values, not a multiple of the \(type.blockLength) of a"
                    + " block of \(type.name)")
        }
        return Listing(
            name: name, type: type, shape: extents.reversed().map { Int($0) },
            byteCount: count / type.blockLength * type.blockBytes, offset: offset)
    }
}
