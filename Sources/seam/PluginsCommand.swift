import ArgumentParser
import SeamHost

struct PluginsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugins", abstract: "List the plugins that are found and what they offer.")

    @OptionGroup var common: CommonOptions

    func run() throws {
        let runtime = try common.makeRuntime()
        guard !runtime.plugins.isEmpty else {
            print("No plugins found. Set SEAM_PLUGIN_PATH to the folder that holds them.")
            return
        }
        var rows = [["offers", "kind", "plugin", "version", "file"]]
        for plugin in runtime.plugins {
            for adapter in plugin.adapters {
                rows.append([adapter.id, "adapter", plugin.id, plugin.version, plugin.path])
            }
            for backbone in plugin.backbones {
                rows.append([backbone.id, "backbone", plugin.id, plugin.version, plugin.path])
            }
        }
        print(formatTable(rows))
    }
}
