import ArgumentParser
import Engine
import Files
import Glibc
import SeamHost
import Support

@main
struct Seam: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "seam",
        abstract: "Train and run small adapters on pretrained models.",
        discussion: """
            A model is a folder in the Hugging Face layout (config.json, model.safetensors, tokenizer.json) or a GGUF \
            file. An adapter is a small trained part that a plugin attaches to one of the model's seams. Plugins are found in \
            SEAM_PLUGIN_PATH and beside this program.

            Start with: seam plugins
            """,
        version: "\(seamVersion)",
        subcommands: [
            PluginsCommand.self, DescribeCommand.self, TrainCommand.self, EvaluateCommand.self, GenerateCommand.self,
            FewshotCommand.self, ClassifyCommand.self, SweepCommand.self, CallCommand.self, ExportCommand.self,
            ImportCommand.self, MergeCommand.self, PrepareCommand.self, ConvertCommand.self,
        ])

    /// Runs the command that the arguments name, and checks that all it printed arrived, help and version as well.
    static func main() {
        StandardStreams.open()
        do {
            try StandardStreams.checkArguments()
            var command = try parseAsRoot()
            try command.run()
            try StandardStreams.flushOutput()
        } catch {
            end(with: error)
        }
    }

    private static func end(with error: Error) -> Never {
        let message = fullMessage(for: error)
        var code = exitCode(for: error)
        if let error = error as? SeamError, error.code == .cancelled, Interruption.isRequested {
            code = Interruption.exitCode
        }
        if code.isSuccess, !message.isEmpty { print(message) } else if !message.isEmpty { printError(message) }
        do {
            try StandardStreams.flushOutput()
        } catch  where code.isSuccess {
            printError(fullMessage(for: error))
            code = .failure
        } catch {
            // The command failed already, for a reason that was told.
        }
        Glibc.exit(code.rawValue)
    }
}

/// Options that every command has.
struct CommonOptions: ParsableArguments {
    @Option(name: .customLong("plugin"), help: "Load this plugin library too. May be repeated.")
    var plugins: [String] = []

    @Option(help: "Threads to compute with; 0 is one per core.")
    var threads = 0

    /// A runtime with all plugins that can be found.
    func makeRuntime() throws -> Runtime {
        MappedFile.watchForLostPages()
        // A file that may grow no further (ulimit -f) is then an error of the write, with a sentence, and no sudden end.
        signal(SIGXFSZ, SIG_IGN)
        let runtime = Runtime()
        runtime.log = { level, message in
            if level == .warning || level == .error { printError("\(level): \(message)") }
        }
        guard threads >= 0 else { throw SeamError(.invalidArgument, "--threads must be 0 or more, found \(threads)") }
        NativeEngine.threadCount = threads
        for path in plugins { try runtime.loadPlugin(path) }
        try runtime.loadPlugins()
        return runtime
    }
}
