import Datasets
import Files
import Support

/// What a model answered for each text, kept on disk, so that a second run asks it nothing.
///
/// Below `folder` each key has a folder of its own with append-only files, each written atomically: a crash loses at
/// most the rows since the last `flush`. Several processes may use one folder at once; each sees what the others had
/// flushed when it was opened, and a row that two of them append is kept once.
///
/// Not thread-safe: one thread at a time. Rows that were not flushed are lost with the object.
public final class FeatureCache {
    /// A row that is in the cache, valid for this object.
    public struct Row: Sendable, Hashable {
        fileprivate let number: Int
    }

    /// Features of several texts, row by row.
    public struct Features: Sendable, Equatable {
        /// Rows x words.
        public let scores: [Float]
        /// Rows x width.
        public let hidden: [Float]
    }

    /// How large the files become. Rows wait in memory until they have the size of a file.
    package struct Sizes {
        /// A file is written when so many bytes wait.
        let file: Int
        /// Files below this count as small; more than `smallFiles` of them are merged when the cache is opened.
        let small: Int
        let smallFiles: Int

        /// - Parameters:
        ///   - file: bytes that wait when a file is written.
        ///   - small: bytes from which on a file is no small one.
        ///   - smallFiles: how many small ones may stay.
        package init(file: Int = 64 << 20, small: Int = 16 << 20, smallFiles: Int = 8) {
            (self.file, self.small, self.smallFiles) = (file, small, smallFiles)
        }
    }

    /// The folder of this key's files; nil for one in memory.
    public let path: String?
    /// The length of a hidden state.
    public let width: Int
    /// The number of words.
    public let words: Int

    private let key: String
    private let sizes: Sizes
    private var shards: [FeatureShard] = []
    /// The row numbers at which each shard starts.
    private var starts: [Int] = []
    private var waiting = FeatureShard.Rows()
    /// Rows in `shards`; those waiting follow.
    private var stored = 0
    /// The first row of each hash, and for rows whose hash another row has too, the next one.
    private var rows: [UInt64: Int] = [:]
    private var nextOfHash: [Int: Int] = [:]

    /// The number of texts.
    public private(set) var count = 0

    /// Opens the cache of a key below `folder`, creating it where there is none, and reads all files once to check
    /// them.
    ///
    /// - Parameters:
    ///   - folder: nil keeps the rows in memory, as long as this object.
    ///   - width: the length of the model's hidden states, 1 or more.
    /// - Throws: `SeamError` naming the file: `.format` for one that is truncated, changed or of another program, `.io`
    ///   when the disk fails or is full, and as `FileSystem.createDirectories`.
    public convenience init(folder: String?, key: FeatureKey, width: Int) throws {
        try self.init(folder: folder, key: key, width: width, sizes: Sizes())
    }

    /// Opens the cache as above, with files of other sizes.
    package init(folder: String?, key: FeatureKey, width: Int, sizes: Sizes) throws {
        guard width > 0 else { throw SeamError(.invalidArgument, "argument width: expected 1 or more, found \(width)") }
        self.key = key.text
        self.width = width
        self.sizes = sizes
        words = key.words.count
        path = folder.map { FileSystem.join($0, key.folderName) }
        guard let path else { return }
        try FileSystem.createDirectories(path)
        FileSystem.removeAbandoned(in: path)
        var opened = try openAll(path)
        let small = opened.filter { $0.file.file.bytes.count < sizes.small }
        if small.count > sizes.smallFiles {
            let merged = try merge(small, into: path)
            opened = opened.filter { shard in !small.contains { $0.file === shard.file } } + merged
        }
        for shard in opened { add(shard) }
    }

    // MARK: Reading

    /// The row of each text, or nil for one that the model has to be asked for.
    public func lookup(_ texts: [InputText]) -> [Row?] {
        texts.map { input in
            let bytes = input.bytes
            return find(bytes, Self.hash(bytes)).map { Row(number: $0) }
        }
    }

    /// The features of rows that `lookup` gave, in their order.
    public func read(_ rows: [Row]) -> Features {
        var hidden: [Float] = []
        let scores = [Float](unsafeUninitializedCapacity: rows.count * words) { scores, scoreCount in
            hidden = [Float](unsafeUninitializedCapacity: rows.count * width) { hidden, hiddenCount in
                for (place, row) in rows.enumerated() {
                    copy(
                        row.number, scores: .init(rebasing: scores[place * words..<(place + 1) * words]),
                        hidden: .init(rebasing: hidden[place * width..<(place + 1) * width]))
                }
                hiddenCount = rows.count * width
            }
            scoreCount = rows.count * words
        }
        return Features(scores: scores, hidden: hidden)
    }

    private func copy(
        _ row: Int, scores: UnsafeMutableBufferPointer<Float>, hidden: UnsafeMutableBufferPointer<Float>
    ) {
        if row >= stored {
            let place = row - stored
            _ = scores.update(fromContentsOf: waiting.scores[place * words..<(place + 1) * words])
            _ = hidden.update(fromContentsOf: waiting.hidden[place * width..<(place + 1) * width])
        } else {
            let (shard, place) = place(row)
            shard.copy(place, scores: .init(scores), hidden: .init(hidden))
        }
    }

    // MARK: Writing

    /// Adds what the model answered. Of a text that is there already the first answer is kept.
    ///
    /// - Parameters:
    ///   - scores: texts x words, finite.
    ///   - hidden: texts x width, finite.
    /// - Throws: `SeamError`: `.shape` for other counts and `.numeric` for NaN or infinity, before anything is added;
    ///   `.io` as `flush`.
    public func append(_ texts: [InputText], scores: [Float], hidden: [Float]) throws {
        try checkCount(scores.count, "scores", rows: texts.count, columns: words)
        try checkCount(hidden.count, "hidden", rows: texts.count, columns: width)
        try checkFinite(scores, "scores", columns: words)
        try checkFinite(hidden, "hidden", columns: width)
        for (place, text) in texts.enumerated() {
            let bytes = text.bytes
            let hash = Self.hash(bytes)
            guard find(bytes, hash) == nil else { continue }
            index(stored + waiting.count, hash)
            waiting.append(
                text: bytes, hash: hash, scores: scores[place * words..<(place + 1) * words],
                hidden: hidden[place * width..<(place + 1) * width])
            if waiting.byteCount >= sizes.file { try flush() }
        }
    }

    /// Writes the rows that wait in memory to a new file. Throws `SeamError(.io)` when the disk is full or fails; then
    /// they wait on, and no file is there.
    public func flush() throws {
        guard waiting.count > 0, let path else { return }
        hold(try write(waiting, into: path))
        waiting = FeatureShard.Rows()
    }

    private func write(_ rows: FeatureShard.Rows, into path: String) throws -> FeatureShard {
        // A new file may be merged away before it is opened here. To write it again leaves rows twice, none is lost.
        try againWhileMerged {
            let file = FileSystem.join(path, ContentHash.hex(.random(in: .min ... .max)) + ".safetensors")
            try FeatureShard.write(rows, key: key, words: words, width: width, to: file)
            return try FeatureShard(file, key: key, words: words, width: width)
        }
    }

    // MARK: Opening

    /// Files may be merged away between listing and opening them; their rows are in a new one then.
    private func openAll(_ path: String) throws -> [FeatureShard] {
        var opened: [String: FeatureShard] = [:]
        return try againWhileMerged {
            let names = try FileSystem.list(path).filter { !$0.hasPrefix(".") }
            for name in names where opened[name] == nil {
                opened[name] = try FeatureShard(FileSystem.join(path, name), key: key, words: words, width: width)
            }
            return names.compactMap { opened[$0] }
        }
    }

    /// Tries again when another process has merged a file away that was about to be opened.
    private func againWhileMerged<Result>(_ body: () throws -> Result) throws -> Result {
        var attempts = 0
        while true {
            do {
                return try body()
            } catch let error as SeamError where error.code == .notFound && attempts < 1000 {
                attempts += 1
            }
        }
    }

    /// Writes the rows of small files to fewer ones and removes the small ones, each only after its rows are on the
    /// disk again. When two processes do so at once, rows are twice on the disk until the next merge, and none is lost.
    private func merge(_ small: [FeatureShard], into path: String) throws -> [FeatureShard] {
        var merged: [FeatureShard] = []
        var gathered = FeatureShard.Rows()
        var sources: [FeatureShard] = []
        var seen: [UInt64: [[UInt8]]] = [:]
        func finish() throws {
            if gathered.count > 0 { merged.append(try write(gathered, into: path)) }
            for source in sources where FileSystem.exists(source.file.path) { try? FileSystem.remove(source.file.path) }
            gathered = FeatureShard.Rows()
            sources = []
        }
        for shard in small {
            for (row, hash) in shard.hashes.enumerated() {
                let text = shard.text(row)
                guard seen[hash]?.contains(text) != true else { continue }
                seen[hash, default: []].append(text)
                var scores = [Float](repeating: 0, count: words)
                var hidden = [Float](repeating: 0, count: width)
                scores.withUnsafeMutableBytes { scores in
                    hidden.withUnsafeMutableBytes { shard.copy(row, scores: scores, hidden: $0) }
                }
                gathered.append(text: text, hash: hash, scores: scores, hidden: hidden)
            }
            sources.append(shard)
            if gathered.byteCount >= sizes.file { try finish() }
        }
        try finish()
        return merged
    }

    // MARK: Index

    private func add(_ shard: FeatureShard) {
        let start = stored
        hold(shard)
        for (row, hash) in shard.hashes.enumerated() where find(shard.text(row), hash) == nil {
            index(start + row, hash)
        }
    }

    private func hold(_ shard: FeatureShard) {
        starts.append(stored)
        shards.append(shard)
        stored += shard.count
    }

    private static func hash(_ bytes: [UInt8]) -> UInt64 { bytes.withUnsafeBytes { ContentHash.of($0) } }

    private func index(_ row: Int, _ hash: UInt64) {
        count += 1
        guard var last = rows[hash] else {
            rows[hash] = row
            return
        }
        while let next = nextOfHash[last] { last = next }
        nextOfHash[last] = row
    }

    private func find(_ text: [UInt8], _ hash: UInt64) -> Int? {
        var candidate = rows[hash]
        while let row = candidate {
            if holds(text, row) { return row }
            candidate = nextOfHash[row]
        }
        return nil
    }

    private func holds(_ text: [UInt8], _ row: Int) -> Bool {
        if row >= stored {
            let place = row - stored
            let range = Int(waiting.offsets[place])..<Int(waiting.offsets[place + 1])
            return waiting.texts[range].elementsEqual(text)
        }
        let (shard, place) = place(row)
        return shard.holds(text, at: place)
    }

    private func place(_ row: Int) -> (FeatureShard, Int) {
        // The last shard that starts at or before the row.
        var (low, high) = (0, starts.count)
        while low + 1 < high {
            let middle = (low + high) / 2
            if starts[middle] <= row { low = middle } else { high = middle }
        }
        return (shards[low], row - starts[low])
    }
}
