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

    /// `id`: reverse DNS. `license`: an SPDX expression. `summary`: one sentence.
    public init(
        id: StaticString, version: StaticString, license: StaticString, summary: StaticString,
        adapters: [AdapterFactory] = [], backbones: [BackboneFactory] = []
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
        table = permanent(plugin)
    }
}
