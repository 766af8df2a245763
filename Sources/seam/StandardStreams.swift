import Files
import Glibc
import Platform
import Support

/// Standard input, output and error of the program.
enum StandardStreams {
    /// Puts something in the place of those that are closed: the first file that is opened would get the number of
    /// standard output, and what is printed would go into it.
    static func open() {
        for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) < 0 {
            // The least free number is that of the closed one. Writing to it fails, as it would have.
            _ = Glibc.open("/dev/null", O_RDONLY)
        }
    }

    /// Brings what was printed to where it goes. Throws `SeamError(.io)` where some of it was lost.
    static func flushOutput() throws {
        let reason = platform_flush_output()
        guard reason != 0 else { return }
        throw FileSystem.outputError(reason)
    }
}
