import CSeam
import Engine
import Files
import Glibc
import Platform
import Support

public enum LogLevel: Int32, Sendable {
    case debug = 0
    case info = 1
    case warning = 2
    case error = 3
}

/// The loaded plugins, the memory pool and the log: what every backbone, adapter and session of a program shares.
///
/// Calls must not overlap: one thread at a time loads, unloads and opens. Sessions made from it run on their own
/// threads.
public final class Runtime {
    public let pool = MemoryPool()
    public private(set) var plugins: [Plugin] = []
    /// Receives what the core and the plugins report, each one line with control characters escaped; nil drops it.
    public var log: ((LogLevel, String) -> Void)? {
        get { receiver.map { receive in { level, message in receive(level, escapingControls(message)) } } }
        set { receiver = newValue }
    }
    private var receiver: ((LogLevel, String) -> Void)?
    /// The services given to plugins; as old as the runtime.
    package let host: UnsafeMutablePointer<seam_host>

    public init() {
        host = .allocate(capacity: 1)
        var table = seam_host()
        table.struct_size = UInt32(MemoryLayout<seam_host>.size)
        table.abi_major = SEAM_ABI_MAJOR
        table.abi_minor = SEAM_ABI_MINOR
        table.set_error = { slot, code, message in
            let text = message.map { String(cString: $0) } ?? "the plugin gave no message"
            // A code that is none, SEAM_OK included, must not pass for success.
            let code = ErrorCode(rawValue: code) ?? .plugin
            ErrorObject.set(slot, SeamError(code, text))
            return code.rawValue
        }
        table.log = { host, level, message in
            guard let runtime = host?.pointee.runtime, let message else { return }
            Unmanaged<Runtime>.fromOpaque(runtime).takeUnretainedValue()
                .log?(LogLevel(rawValue: level) ?? .info, String(cString: message))
        }
        table.`extension` = { _, id in id.flatMap { hostExtension(String(cString: $0)) } }
        Configuration.install(in: &table)
        PretrainedModel.install(in: &table)
        host.initialize(to: table)
        host.pointee.runtime = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit {
        for plugin in plugins { plugin.close() }
        host.deallocate()
    }

    // MARK: Loading

    /// Loads one library. Throws if it is no plugin, or offers an id that is already there.
    @discardableResult
    public func loadPlugin(_ path: String) throws -> Plugin {
        let plugin = try Plugin(path: path)
        do {
            try refuseDuplicates(plugin)
        } catch {
            plugin.close()
            throw error
        }
        plugins.append(plugin)
        log?(.debug, "loaded plugin \(plugin.id) \(plugin.version) from \(path)")
        return plugin
    }

    private func refuseDuplicates(_ plugin: Plugin) throws {
        if let other = plugins.first(where: { $0.id == plugin.id }) {
            throw SeamError(
                .alreadyExists,
                "plugin \"\(plugin.path)\" has the id \(plugin.id), already loaded from \"\(other.path)\"")
        }
        var adapters = plugins.flatMap { plugin in plugin.adapters.map { ($0.id, plugin) } }
        for factory in plugin.adapters {
            if let (_, owner) = adapters.first(where: { $0.0 == factory.id }) {
                throw SeamError(
                    .alreadyExists, "adapter \"\(factory.id)\" of plugin \(plugin.id) is already offered by \(owner.id)"
                )
            }
            adapters.append((factory.id, plugin))
        }
        var backbones = plugins.flatMap { plugin in plugin.backbones.map { ($0.id, plugin) } }
        for factory in plugin.backbones {
            if let (_, owner) = backbones.first(where: { $0.0 == factory.id }) {
                throw SeamError(
                    .alreadyExists,
                    "backbone \"\(factory.id)\" of plugin \(plugin.id) is already offered by \(owner.id)")
            }
            backbones.append((factory.id, plugin))
        }
    }

    /// Loads every plugin of the folders in `searchPath` (joined by ':'), or of SEAM_PLUGIN_PATH and then the folder
    /// of this library when nil. A plugin whose id an earlier folder offered is passed over; one that cannot be loaded
    /// is reported as a warning and passed over, so that one broken plugin does not take the others away.
    /// - Returns: the plugins loaded by this call.
    @discardableResult
    public func loadPlugins(searchPath: String? = nil) throws -> [Plugin] {
        var folders: [String] = []
        if let given = searchPath ?? getenv("SEAM_PLUGIN_PATH").map({ String(cString: $0) }) {
            folders = given.split(separator: ":").map(String.init)
            for folder in folders where !FileSystem.isDirectory(folder) {
                throw SeamError(.notFound, "plugin search path: \"\(folder)\" is not a folder")
            }
        }
        if searchPath == nil, let own = Self.ownFolder { folders.append(own) }
        var loaded: [Plugin] = []
        for folder in folders {
            for name in try FileSystem.list(folder).sorted() where name.hasPrefix("lib") && name.hasSuffix(".so") {
                let path = FileSystem.join(folder, name)
                guard name != "libSeam.so", Self.mayBePlugin(path) else { continue }
                do {
                    let plugin = try Plugin(path: path)
                    if plugins.contains(where: { $0.id == plugin.id }) {
                        plugin.close()
                        continue
                    }
                    do { try refuseDuplicates(plugin) } catch {
                        plugin.close()
                        throw error
                    }
                    plugins.append(plugin)
                    loaded.append(plugin)
                } catch {
                    log?(.warning, "\(error)")
                }
            }
        }
        return loaded
    }

    /// Unloads a plugin. Throws while an adapter or backbone of it is alive.
    public func unloadPlugin(_ id: String) throws {
        guard let index = plugins.firstIndex(where: { $0.id == id }) else {
            throw SeamError(.notFound, "no plugin with the id \"\(id)\" is loaded")
        }
        let alive = plugins[index].liveInstances.load(ordering: .acquiring)
        guard alive == 0 else {
            throw SeamError(
                .invalidArgument,
                "plugin \(id) cannot be unloaded: \(alive) of its adapters or backbones are in use")
        }
        plugins.remove(at: index).close()
    }

    /// Whether the library's bytes name the entry, so that scanning a folder opens no foreign library.
    private static func mayBePlugin(_ path: String) -> Bool {
        guard let file = try? MappedFile(path) else { return false }
        return file.withBytes { platform_contains($0.baseAddress!, $0.count, SEAM_PLUGIN_ENTRY) != 0 }
    }

    /// The folder of the library or program that this code is in.
    public static let ownFolder: String? = {
        var path = [CChar](repeating: 0, count: 4096)
        guard platform_own_path(&path, path.count) == 0 else { return nil }
        return FileSystem.parent(path.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })
    }()

    // MARK: Looking up

    public func adapterFactory(_ id: String) throws -> AdapterFactory {
        let all = plugins.flatMap(\.adapters)
        guard let factory = all.first(where: { $0.id == id }) else {
            throw SeamError(
                .notFound, "no loaded plugin offers an adapter \"\(id)\"; there are \(Self.names(all.map(\.id)))")
        }
        return factory
    }

    public func backboneFactory(_ id: String) throws -> BackboneFactory {
        let all = plugins.flatMap(\.backbones)
        guard let factory = all.first(where: { $0.id == id }) else {
            throw SeamError(
                .notFound, "no loaded plugin offers a backbone \"\(id)\"; there are \(Self.names(all.map(\.id)))")
        }
        return factory
    }

    private static func names(_ ids: [String]) -> String { ids.isEmpty ? "none" : ids.sorted().joined(separator: ", ") }
}
