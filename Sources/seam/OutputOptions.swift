import ArgumentParser
import Files
import Support

/// Whether what is in the output folder may go.
struct OverwriteOption: ParsableArguments {
    @Flag(help: "Replace what an earlier run wrote into the output folder; without it such a folder is refused.")
    var overwrite = false

    /// Throws `.alreadyExists` for a folder that holds something, unless it may go.
    func check(_ output: String) throws {
        guard overwrite || AtomicFolder.isFree(output) else {
            throw SeamError(
                .alreadyExists,
                "\"\(output)\" is there already: add --overwrite to replace it, or give another --output")
        }
    }
}
