import CSeam

/// Everything a library offers. A plugin keeps one in a global and returns its table from its entry:
///
///     private let plugin = Plugin(
///         id: "org.example.shift", version: "1.0.0", license: "MIT", summary: "Adds a vector.",
///         adapters: [AdapterFactory(Shift.self) { Shift.create($0, $1, $2, $3, $4) }])
///
///     @c(seam_plugin_entry)
///     public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
///
/// The global is made at the first call, once, whichever thread calls; the tables are freed when the host
/// unloads the library.
public struct Plugin: @unchecked Sendable {
    public let table: UnsafePointer<seam_plugin>?

    /// A function that gives a table of functions beyond the headers by its id, or NULL.
    public typealias Extension = @convention(c) (UnsafePointer<CChar>?) -> UnsafeRawPointer?

    /// `id`: reverse DNS. `license`: an SPDX expression. `summary`: one sentence. `extension`: const tables that live
    /// until the library is unloaded.
    public init(
        id: StaticString, version: StaticString, license: StaticString, summary: StaticString,
        adapters: [AdapterFactory] = [], backbones: [BackboneFactory] = [], requirements: Requirements? = nil,
        extension: Extension? = nil
    ) {
        var plugin = seam_plugin()
        plugin.struct_size = UInt32(MemoryLayout<seam_plugin>.size)
        plugin.abi_major = SEAM_ABI_MAJOR
        plugin.abi_minor = SEAM_ABI_MINOR
        plugin.id = id.cString
        plugin.version = version.cString
        plugin.license = license.cString
        plugin.summary = summary.cString
        plugin.adapters = permanent(adapters.map { $0.table })
        plugin.adapter_count = adapters.count
        plugin.backbones = permanent(backbones.map { $0.table })
        plugin.backbone_count = backbones.count
        plugin.requirements = requirements?.table
        plugin.extension = `extension`
        table = permanent(plugin)
    }
}

/// What a plugin needs beyond version 1.0 of the headers. A host that lacks any of it refuses the plugin, with a
/// sentence that lists all that is missing.
public struct Requirements {
    let table: UnsafePointer<seam_requirements>?

    /// `minor`: the least minor version of the host. `operations`: functions of seam_ops, by name. `extensions`: ids of
    /// tables that the host offers.
    public init(minor: UInt32 = 0, operations: [StaticString] = [], extensions: [StaticString] = []) {
        var requirements = seam_requirements()
        requirements.struct_size = UInt32(MemoryLayout<seam_requirements>.size)
        requirements.abi_minor = minor
        requirements.operations = permanent(operations.map { $0.cString })
        requirements.operation_count = operations.count
        requirements.extensions = permanent(extensions.map { $0.cString })
        requirements.extension_count = extensions.count
        table = permanent(requirements)
    }
}
