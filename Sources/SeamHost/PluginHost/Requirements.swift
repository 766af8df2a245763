import CSeam
import Support

/// What a plugin needs beyond version 1.0 (`seam_requirements`), compared with what this host has.
enum Requirements {
    /// - Returns: the operations that are required, all of which this host has.
    /// - Throws: `.incompatible` with one sentence that lists all that is missing; `.plugin` for a broken table.
    static func check(_ pointer: UnsafePointer<seam_requirements>, plugin path: String, id: String) throws
        -> [String]
    {
        let name = "plugin \"\(path)\""
        let source = try bounded(
            pointer, atLeast: SEAM_REQUIREMENTS_SIZE_1_0, "the requirements of \(name)", origin: id)
        func texts(
            _ array: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ what: String
        ) throws -> [String] {
            try tableEntries(array, count, what, of: "the requirements of \(name)", origin: id) { String(cString: $0) }
        }
        var missing: [String] = []
        if source.abi_minor > SEAM_ABI_MINOR { missing.append("ABI \(SEAM_ABI_MAJOR).\(source.abi_minor)") }
        let operations = try texts(source.operations, source.operation_count, "operation")
        for operation in operations where !OpsTable.offers(operation) {
            missing.append("the operation \"\(operation)\"")
        }
        for extensionID in try texts(source.extensions, source.extension_count, "extension")
        where hostExtension(extensionID) == nil {
            missing.append("the extension \"\(extensionID)\"")
        }
        guard missing.isEmpty else {
            throw SeamError(
                .incompatible,
                "\(name) needs \(listed(missing, ", ")), which this core, ABI \(SEAM_ABI_MAJOR).\(SEAM_ABI_MINOR), does not have",
                origin: id)
        }
        return operations
    }
}

/// The host's table of functions beyond the headers, by its id (`seam_host.extension`); nil where it has none of that
/// id. There is none yet.
func hostExtension(_ id: String) -> UnsafeRawPointer? { nil }
