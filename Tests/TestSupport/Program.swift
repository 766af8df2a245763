import Files
import Glibc
import Support
import Testing

/// A program run as a process of its own, with what it wrote.
public final class Program {
    public struct Outcome {
        /// The exit code, or 128 and the signal that ended it.
        public let status: Int32
        public let output: String
        public let errors: String
    }

    private let scratch: ScratchFolder
    private let process: pid_t

    /// Starts a program with this process's environment, changed by `environment` (nil removes a name).
    public init(
        _ path: String, _ arguments: [String], environment: [String: String?] = [:], input: String = ""
    ) throws {
        scratch = try ScratchFolder()
        try scratch.write("in", input)
        var variables = Self.environment()
        for (name, value) in environment { variables[name] = value }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, scratch["in"], O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, scratch["out"], O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, scratch["err"], O_WRONLY | O_CREAT, 0o600)
        // Tests run on threads that block signals, which a child inherits; a program from a shell blocks none.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var (none, all) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        let argumentList = ([path] + arguments).map { strdup($0) } + [nil]
        let variableList = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in argumentList + variableList { free(text) } }
        var child: pid_t = 0
        let status = posix_spawnp(&child, path, &actions, &attributes, argumentList, variableList)
        guard status == 0 else { throw SeamError(.notFound, "\(path): \(String(cString: strerror(status)))") }
        process = child
    }

    private static func environment() -> [String: String] {
        var result: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let parts = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { result[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        return result
    }

    /// What it has written to standard error so far.
    public func errorsSoFar() throws -> String { try FileSystem.readText(scratch["err"]) }

    public func send(_ signal: Int32) { kill(process, signal) }

    /// Waits until it ends; one that does not within a minute is killed, so that a test fails instead of hanging.
    public func wait() throws -> Outcome {
        var state: Int32 = 0
        let start = monotonicSeconds()
        while waitpid(process, &state, WNOHANG) != process {
            if monotonicSeconds() - start > 60 { kill(process, SIGKILL) }
            usleep(1000)
        }
        let signal = state & 0x7f
        return Outcome(
            status: signal == 0 ? (state >> 8) & 0xff : 128 + signal, output: try FileSystem.readText(scratch["out"]),
            errors: try FileSystem.readText(scratch["err"]))
    }

    public static func run(
        _ path: String, _ arguments: [String], environment: [String: String?] = [:], input: String = ""
    ) throws -> Outcome {
        try Program(path, arguments, environment: environment, input: input).wait()
    }
}

/// The root of the repository.
public let repository = FileSystem.parent(FileSystem.parent(FileSystem.parent(#filePath)))

/// Compiles a C source of Tests/Fixtures as a plugin into `folder`. A machine without `cc` fails the test.
@discardableResult
public func compilePlugin(_ source: String, into folder: String, name: String? = nil) throws -> String {
    let base = FileSystem.baseName(source).split(separator: ".")[0]
    let path = FileSystem.join(folder, "lib\(name ?? String(base)).so")
    let outcome = try Program.run(
        "cc",
        [
            "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-I", FileSystem.join(repository, "include"), "-o",
            path,
            FileSystem.join(repository, "Tests", "Fixtures", source), "-lm",
        ])
    guard outcome.status == 0 else { throw SeamError(.io, "cc \(source): \(outcome.errors)") }
    return path
}
