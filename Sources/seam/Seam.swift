import ArgumentParser
import Engine
import Files
import Session
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
            ImportCommand.self,
        ])
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
        let runtime = try Runtime()
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
