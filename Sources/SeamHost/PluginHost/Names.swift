import Support

// Names and counts in the tables of a plugin, checked before anything relies on them: names become keys of files, names of
// folders and options of a command line.

/// The name of something that a plugin offers.
/// - Parameters:
///   - what: "an adapter id", the beginning of the sentence.
///   - allowsCapitals: for parameters, which may carry the names of a model's tensors.
/// - Throws: `.plugin` unless it is of a to z, digits, '.', '_' and '-', begins with a letter or a digit, and is not long.
func checkedName(
    _ pointer: UnsafePointer<CChar>?, _ what: String, allowsCapitals: Bool = false, origin: String = ""
) throws(SeamError) -> String {
    guard let name = pointer.map({ String(cString: $0) }), !name.isEmpty else {
        throw SeamError(.plugin, "\(what) must not be empty", origin: origin)
    }
    func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): allowsCapitals
        default: false
        }
    }
    let longest = 100
    let bytes = name.utf8
    guard bytes.count <= longest, isAlphanumeric(bytes.first!),
        bytes.allSatisfy({
            isAlphanumeric($0) || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains($0)
        })
    else {
        throw SeamError(
            .plugin,
            "\(what) must have 1 to \(longest) characters of a-z, \(allowsCapitals ? "A-Z, " : "")0-9, '.', '_' and '-' and begin with a letter or a digit, found \"\(name)\"",
            origin: origin)
    }
    return name
}

/// Throws `.plugin` for a name that comes twice.
func refuseTwice(_ names: [String], _ what: String, origin: String) throws(SeamError) {
    var seen: Set<String> = []
    for name in names where !seen.insert(name).inserted {
        throw SeamError(.plugin, "\(what) \"\(name)\" is declared twice", origin: origin)
    }
}

/// Every entry of an array of pointers in a plugin's table.
/// - Parameters:
///   - what: "option", and `owner`, whose it is, for a sentence.
///   - limit: more entries cannot be meant.
/// - Throws: `.plugin` for another count or an entry that is NULL, and what `body` throws.
func tableEntries<Entry, Result>(
    _ array: UnsafePointer<UnsafePointer<Entry>?>?, _ count: Int, atMost limit: Int = 1000, _ what: String,
    of owner: String,
    origin: String, _ body: (UnsafePointer<Entry>) throws -> Result
) throws -> [Result] {
    guard count >= 0, count <= limit else {
        throw SeamError(
            .plugin, "the number of \(what)s of \(owner) must be at most \(limit), found \(UInt(bitPattern: count))",
            origin: origin)
    }
    return try (0..<count).map { index in
        guard let entry = array?[index] else {
            throw SeamError(.plugin, "\(what) \(index) of \(owner) is NULL", origin: origin)
        }
        return try body(entry)
    }
}
