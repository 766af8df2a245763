import COnig
import Support

/// A regular expression as Hugging Face `tokenizers` reads it: by Oniguruma, in its own syntax.
///
/// Thread rules: any thread may search. Oniguruma only reads the compiled expression during a search; what
/// it writes is local to the call.
final class OnigurumaRegex: @unchecked Sendable {
    private let regex: OnigRegex
    /// The file and part that hold the expression, for error sentences.
    private let place: String

    private static let initialized = conig_initialize()

    /// Throws `SeamError(.format)`, with what Oniguruma says, for a malformed expression.
    init(_ pattern: String, in place: String) throws {
        guard Self.initialized == ONIG_NORMAL else {
            throw SeamError(.internal, "\(place): the regular expression library Oniguruma could not be started")
        }
        var compiled: OnigRegex?
        var error = OnigErrorInfo()
        let bytes = Array(pattern.utf8)
        let status = bytes.withUnsafeBufferPointer { bytes in
            // An empty array has no address, which Oniguruma would read as a null pattern.
            var none: UInt8 = 0
            guard let start = bytes.baseAddress else { return conig_new(&compiled, &none, 0, &error) }
            return conig_new(&compiled, start, bytes.count, &error)
        }
        guard status == ONIG_NORMAL, let compiled else {
            let reason = Self.reason { conig_pattern_error($0, status, &error) }
            throw SeamError(.format, "\(place): \"\(pattern)\" is not a regular expression, \(reason)")
        }
        regex = compiled
        self.place = place
    }

    deinit { onig_free(regex) }

    /// Calls `body` with the range of every match in `text[piece]`, from left to right and without overlap;
    /// nothing outside of `piece` is seen. An empty match right behind another match does not count.
    ///
    /// Throws `SeamError(.format)` when Oniguruma gives up, and where the searches of a text take more attempts than
    /// `budget` has left: an expression with nested repetitions may need 2^n of them for n characters.
    func forEachMatch(
        in text: [UInt8], _ piece: Range<Int>, _ budget: inout SearchBudget, _ body: (Range<Int>) -> Void
    ) throws {
        try text.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            let start = base + piece.lowerBound
            let end = base + piece.upperBound
            let region = onig_region_new()
            defer { onig_region_free(region, 1) }
            var next = start
            var lastEnd: Int?
            while next <= end {
                let status = try budget.search(place) { conig_search(regex, start, end, next, region, $0) }
                if status == ONIG_MISMATCH { return }
                guard status >= 0, let region else {
                    let reason = Self.reason { conig_search_error($0, status) }
                    throw SeamError(.format, "\(place): the regular expression cannot be applied to a text, \(reason)")
                }
                let match = Int(region.pointee.beg[0])..<Int(region.pointee.end[0])
                if match.isEmpty && match.upperBound == lastEnd {
                    next += next < end ? lengthOfScalar(next.pointee) : 1
                    continue
                }
                lastEnd = match.upperBound
                next = start + match.upperBound
                body(match.lowerBound + piece.lowerBound..<match.upperBound + piece.lowerBound)
            }
        }
    }

    private static func reason(_ write: (UnsafeMutablePointer<UInt8>) -> Int32) -> String {
        let text = [UInt8](unsafeUninitializedCapacity: Int(ONIG_MAX_ERROR_MESSAGE_LEN)) { buffer, count in
            count = Int(write(buffer.baseAddress!))
        }
        return "Oniguruma says: \(String(decoding: text, as: UTF8.self))"
    }
}

/// How many attempts at a match all searches in one text may take together.
///
/// Oniguruma has a limit for one search, and does not tell how many attempts one took. So each search is tried with a low
/// limit first, which ordinary expressions never reach, and again with higher ones; what was tried in vain is taken off.
struct SearchBudget {
    private static let firstLimit = 1000
    private let total: Int
    private var left: Int

    /// A budget for a text of so many bytes. A search of a whole text for one match takes a few attempts a byte.
    init(byteCount: Int) {
        total = 100_000 + 1000 * byteCount
        left = total
    }

    fileprivate mutating func search(_ place: String, _ search: (_ limit: UInt) -> Int32) throws -> Int32 {
        var limit = Self.firstLimit
        while true {
            let status = search(UInt(limit))
            guard conig_gave_up(status) != 0 else { return status }
            left -= limit
            guard left > 0 else {
                throw SeamError(
                    .format,
                    "\(place): the regular expression cannot be applied to a text, it takes more than \(total) attempts"
                        + " to find its matches; nested repetitions are the usual reason")
            }
            limit = min(8 * limit, left)
        }
    }
}
