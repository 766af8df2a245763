import Files
import Glibc
import Platform
import Support

/// Arguments, standard input, output and error of the program.
enum StandardStreams {
    /// Puts something in the place of those that are closed: the first file that is opened would get the number of
    /// standard output, and what is printed would go into it.
    static func open() {
        for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) < 0 {
            // The least free number is that of the closed one. Writing to it fails, as it would have.
            _ = Glibc.open("/dev/null", O_RDONLY)
        }
    }

    /// Throws `.invalidArgument` for an argument that is not UTF-8, which would name another file when it is read as text.
    static func checkArguments() throws {
        for (index, argument) in CommandLine.arguments.enumerated().dropFirst() {
            guard let bytes = CommandLine.unsafeArgv[index], String(validatingCString: bytes) == nil else { continue }
            throw SeamError(
                .invalidArgument,
                "argument \(index) must be UTF-8, found \(argument.debugDescription): give the file or folder another name"
            )
        }
    }

    /// Brings what was printed to where it goes. Throws `SeamError(.io)` where some of it was lost.
    static func flushOutput() throws {
        let reason = platform_flush_output()
        guard reason != 0 else { return }
        throw FileSystem.outputError(reason)
    }
}
