import Glibc

/// What this machine can hold, asked before memory is taken whose size comes from outside: an array of Swift ends the
/// process where the system refuses its memory.
public enum Memory {
    /// Bytes of memory that the machine has.
    public static let total = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))

    /// Whether the system would hand out a block of that size now.
    public static func holds(_ byteCount: Int) -> Bool {
        guard byteCount <= total else { return false }
        // The C library asks the system for each block of this size, which a limit of the process may refuse.
        guard byteCount >= 32 << 20 else { return true }
        guard let block = malloc(byteCount) else { return false }
        free(block)
        return true
    }

    /// Throws unless there is memory for all `counts`, multiplied with each other.
    /// - Parameters:
    ///   - counts: 0 or more each; the last is the size of an element in bytes.
    ///   - purpose: what the memory is for, the beginning of the sentence.
    /// - Throws: `.outOfMemory`.
    public static func require(_ counts: Int..., for purpose: @autoclosure () -> String) throws(SeamError) {
        var bytes = 1
        for count in counts {
            let (product, overflows) = bytes.multipliedReportingOverflow(by: count)
            bytes = overflows ? .max : product
        }
        guard holds(bytes) else {
            throw SeamError(
                .outOfMemory, "\(purpose()) needs \(gigabytes(bytes)) of memory, this machine has \(gigabytes(total))")
        }
    }

    private static func gigabytes(_ bytes: Int) -> String {
        "\(bytes == .max ? "more than " : "")\(fixed(Double(bytes) / 1e9, 1)) GB"
    }
}
