import CSeam
import Files
import Glibc
import Support
import Synchronization

/// A loaded plugin library and what it declares, validated. Kept open until it is unloaded by the runtime.
public final class Plugin {
    public let path: String
    public let id: String
    public let version: String
    public let license: String
    public let summary: String
    /// The header version it was compiled with.
    public let abi: (major: UInt32, minor: UInt32)
    /// The operations that it requires of every engine, by their names.
    let requiredOperations: [String]
    public private(set) var adapters: [AdapterFactory] = []
    public private(set) var backbones: [BackboneFactory] = []
    /// Adapters and backbones that are alive: the library must stay. They are made and released on any thread.
    package let liveInstances = Atomic(0)
    private let library: UnsafeMutableRawPointer
    private let table: seam_plugin

    /// Opens a library with local binding and checks everything that the host will rely on, before any of it runs.
    init(path: String) throws {
        guard FileSystem.exists(path) else { throw SeamError(.notFound, "plugin \"\(path)\": there is no such file") }
        // dlopen searches the system for a name without a slash.
        let location = path.contains("/") ? path : "./" + path
        guard let library = dlopen(location, RTLD_NOW | RTLD_LOCAL) else {
            let reason = dlerror().map { String(cString: $0) } ?? "unknown reason"
            throw SeamError(.format, "plugin \"\(path)\" cannot be loaded as a dynamic library: \(reason)")
        }
        do {
            guard let symbol = dlsym(library, SEAM_PLUGIN_ENTRY) else {
                throw SeamError(
                    .plugin, "plugin \"\(path)\" is a library but no plugin: it does not export \(SEAM_PLUGIN_ENTRY)")
            }
            typealias Entry = @convention(c) () -> UnsafePointer<seam_plugin>?
            guard let table = unsafeBitCast(symbol, to: Entry.self)() else {
                throw SeamError(.plugin, "plugin \"\(path)\": \(SEAM_PLUGIN_ENTRY) returned NULL")
            }
            // First, since of the description in another major version these members are all that is known, and it may be
            // shorter.
            let hasVersion = Int(table.pointee.struct_size) >= MemoryLayout<seam_plugin>.offset(of: \.abi_minor)! + 4
            guard !hasVersion || table.pointee.abi_major == SEAM_ABI_MAJOR else {
                throw SeamError(
                    .incompatible,
                    "plugin \"\(path)\" was built for ABI \(table.pointee.abi_major).\(table.pointee.abi_minor), this core has \(SEAM_ABI_MAJOR).\(SEAM_ABI_MINOR): the major versions must be equal"
                )
            }
            let source: seam_plugin
            do { source = try bounded(table, atLeast: SEAM_PLUGIN_SIZE_1_0, "seam_plugin") } catch {
                throw SeamError(error.code, "plugin \"\(path)\": \(error.message)")
            }
            let id = try checkedName(source.id, "plugin \"\(path)\": the id")
            requiredOperations =
                try source.requirements.map { try Requirements.check($0, plugin: path, id: id) } ?? []
            self.path = path
            self.table = source
            self.id = id
            self.library = library
            abi = (source.abi_major, source.abi_minor)
            version = source.version.map { String(cString: $0) } ?? ""
            license = source.license.map { String(cString: $0) } ?? ""
            summary = source.summary.map { String(cString: $0) } ?? ""
            adapters = try tableEntries(source.adapters, source.adapter_count, "adapter", of: "the plugin", origin: id)
            {
                try AdapterFactory($0, plugin: self)
            }
            backbones = try tableEntries(
                source.backbones, source.backbone_count, "backbone", of: "the plugin", origin: id
            ) {
                try BackboneFactory($0, plugin: self)
            }
        } catch {
            dlclose(library)
            throw error
        }
    }

    /// A table of functions that it offers beyond the headers, by its id ("org.example.trace/1"): constant, valid until
    /// the plugin is unloaded; nil where it has none of that id. Thread-safe.
    public func table(ofExtension id: String) -> UnsafeRawPointer? { table.`extension`?(id) }

    /// Closes the library. Nothing of it may be used afterwards.
    func close() {
        adapters = []
        backbones = []
        dlclose(library)
    }
}

/// An adapter method a plugin declares; valid while the plugin is loaded.
public final class AdapterFactory {
    public let id: String
    public let summary: String
    public let seams: [String]
    public let options: [DeclaredOption]
    public let methods: [Method]
    /// Whether it reads, at decoder.output, the answers to several prompts about each text.
    public let readsPrompts: Bool
    /// Projections that it attaches to where nothing else is asked for; empty: all.
    public let defaultTargets: [String]
    /// The host's own copy: what the plugin's header did not have is nil.
    let table: seam_adapter_factory
    public unowned let plugin: Plugin

    init(_ pointer: UnsafePointer<seam_adapter_factory>, plugin: Plugin) throws {
        let origin = plugin.id
        let source = try bounded(
            pointer, atLeast: SEAM_ADAPTER_FACTORY_SIZE_1_0, "seam_adapter_factory", origin: origin)
        id = try checkedName(source.id, "an adapter id", origin: origin)
        let name = "adapter \"\(id)\""
        try requireAll(
            [
                ("create", source.create != nil), ("destroy", source.destroy != nil),
                ("parameter_count", source.parameter_count != nil), ("parameter", source.parameter != nil),
                ("forward", source.forward != nil),
            ], name, origin)
        summary = source.summary.map { String(cString: $0) } ?? ""
        seams = try tableEntries(source.seams, source.seam_count, "seam", of: name, origin: origin) {
            try checkedName($0, "a seam of \(name)", origin: origin)
        }
        guard !seams.isEmpty else { throw SeamError(.plugin, "\(name) names no seam", origin: origin) }
        try refuseTwice(seams, "\(name): the seam", origin: origin)
        readsPrompts = try pluginFlag(source.reads_prompts, "reads_prompts of \(name)", origin: origin)
        guard !readsPrompts || seams.contains(SEAM_DECODER_OUTPUT) else {
            throw SeamError(
                .plugin,
                "\(name) reads several prompts, which \(SEAM_DECODER_OUTPUT) alone has, and does not attach there",
                origin: origin)
        }
        options = try declaredOptions(source.options, source.option_count, of: name, origin)
        if seams.contains(where: Point.seams.contains),
            let taken = options.first(where: { PointChoice.options.contains($0.name) })
        {
            throw SeamError(
                .plugin,
                "\(name) must not declare an option \"\(taken.name)\": every adapter on a seam inside the layers has it from the host",
                origin: origin)
        }
        defaultTargets = source.default_targets.map { String(cString: $0).split(separator: "|").map(String.init) } ?? []
        methods = try tableEntries(source.methods, source.method_count, "method", of: name, origin: origin) {
            try Method($0, owner: name, origin: origin)
        }
        try refuseTwice(methods.map(\.name), "\(name): the method", origin: origin)
        table = source
        self.plugin = plugin
        let folded = options.first { $0.name == Self.foldedOption }
        guard source.fold == nil || folded?.defaultValue == .bool(false) else {
            throw SeamError(
                .plugin,
                "\(name) folds and must declare the boolean option \"\(Self.foldedOption)\" with the default false, found \(folded == nil ? "none" : "another")",
                origin: origin)
        }
    }

    /// What may be set: its own options and those that every adapter inside the layers has from the host.
    public var optionNames: [String] {
        options.map(\.name) + (seams.contains(where: Point.seams.contains) ? PointChoice.options : [])
    }

    /// The option of adapters that fold, true in a folded one.
    static let foldedOption = "folded"
}

/// A backbone a plugin declares; valid while the plugin is loaded.
public final class BackboneFactory {
    public let id: String
    public let summary: String
    public let options: [DeclaredOption]
    /// The host's own copy: what the plugin's header did not have is nil.
    let table: seam_backbone_factory
    public unowned let plugin: Plugin

    init(_ pointer: UnsafePointer<seam_backbone_factory>, plugin: Plugin) throws {
        let origin = plugin.id
        let source = try bounded(
            pointer, atLeast: SEAM_BACKBONE_FACTORY_SIZE_1_0, "seam_backbone_factory", origin: origin)
        id = try checkedName(source.id, "a backbone id", origin: origin)
        let name = "backbone \"\(id)\""
        try requireAll(
            [
                ("create", source.create != nil), ("destroy", source.destroy != nil), ("info", source.info != nil),
                ("parameter_count", source.parameter_count != nil), ("parameter", source.parameter != nil),
            ], name, origin)
        let stateful = [source.state_create != nil, source.state_destroy != nil, source.state_select != nil]
        guard Set(stateful).count == 1 else {
            throw SeamError(
                .plugin, "\(name) must have all of state_create, state_destroy and state_select, or none",
                origin: origin)
        }
        guard source.state_append == nil || source.state_create != nil else {
            throw SeamError(
                .plugin, "\(name) has state_append and none of the functions that make a state", origin: origin)
        }
        summary = source.summary.map { String(cString: $0) } ?? ""
        options = try declaredOptions(source.options, source.option_count, of: name, origin)
        table = source
        self.plugin = plugin
    }

    /// Throws unless the factory has the functions that an architecture is run with.
    func require(functionsOf architecture: Architecture) throws {
        let encode = ("encode", table.encode != nil)
        let decode = ("decode", table.decode != nil)
        let needed =
            switch architecture {
            case .encoderDecoder: [encode, decode]
            case .encoderOnly: [encode, ("pool", table.pool != nil)]
            case .decoderOnly: [decode]
            case .text: [("query", table.query != nil)]
            }
        try requireAll(needed, "backbone \"\(id)\"", plugin.id)
    }
}

private func requireAll(_ functions: [(String, Bool)], _ name: String, _ origin: String) throws {
    let missing = functions.filter { !$0.1 }.map(\.0)
    guard missing.isEmpty else {
        throw SeamError(
            .plugin,
            "\(name) lacks the required function\(missing.count > 1 ? "s" : "") \(missing.joined(separator: ", "))",
            origin: origin)
    }
}

private func declaredOptions(
    _ source: UnsafePointer<UnsafePointer<seam_option>?>?, _ count: Int, of owner: String, _ origin: String
) throws -> [DeclaredOption] {
    let options = try tableEntries(source, count, "option", of: owner, origin: origin) {
        try DeclaredOption($0, owner: owner, origin: origin)
    }
    try refuseTwice(options.map(\.name), "\(owner): the option", origin: origin)
    return options
}
