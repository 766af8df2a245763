import CSeam
import Engine
import Files
import SeamHost
import Support

@c @implementation
public func seam_runtime_create(_ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot) -> seam_status {
    attempt(error) {
        let out = try required(out, "out")
        out.pointee = handOver(RuntimeHandle(Runtime()))
    }
}

@c @implementation
public func seam_runtime_release(_ runtime: OpaquePointer?) { release(runtime, RuntimeHandle.self) }

@c @implementation
public func seam_runtime_set_log(
    _ runtime: OpaquePointer?, _ callback: seam_log_callback?, _ user: UnsafeMutableRawPointer?
) {
    guard let handle = try? object(runtime, "runtime", as: RuntimeHandle.self) else { return }
    guard let callback else {
        handle.runtime.log = nil
        return
    }
    handle.runtime.log = { level, message in message.withCString { callback(user, level.rawValue, $0) } }
}

@c @implementation
public func seam_set_thread_count(_ count: Int32) { NativeEngine.threadCount = Int(max(count, 0)) }

@c @implementation
public func seam_runtime_load_plugin(_ runtime: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        try handle.runtime.loadPlugin(try text(path, "path"))
    }
}

@c @implementation
public func seam_runtime_load_plugins(
    _ runtime: OpaquePointer?, _ searchPath: UnsafePointer<CChar>?, _ loaded: UnsafeMutablePointer<Int>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        let plugins = try handle.runtime.loadPlugins(searchPath: try optionalText(searchPath, "search_path"))
        loaded?.pointee = plugins.count
    }
}

@c @implementation
public func seam_runtime_unload_plugin(_ runtime: OpaquePointer?, _ id: UnsafePointer<CChar>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        try handle.runtime.unloadPlugin(try text(id, "id"))
    }
}

@c @implementation
public func seam_runtime_plugin_count(_ runtime: OpaquePointer?) -> Int {
    (try? object(runtime, "runtime", as: RuntimeHandle.self))?.runtime.plugins.count ?? 0
}

@c @implementation
public func seam_runtime_get_plugin(
    _ runtime: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<seam_plugin_info>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        let out = try place(out, "out")
        let plugin = try entry(handle.runtime.plugins, at: index, "plugins")
        var info = seam_plugin_info()
        info.abi_major = plugin.abi.major
        info.abi_minor = plugin.abi.minor
        info.id = handle.strings.lend(plugin.id)
        info.version = handle.strings.lend(plugin.version)
        info.license = handle.strings.lend(plugin.license)
        info.summary = handle.strings.lend(plugin.summary)
        info.path = handle.strings.lend(plugin.path)
        write(info, to: out)
    }
}

@c @implementation
public func seam_runtime_get_extension(
    _ runtime: OpaquePointer?, _ pluginID: UnsafePointer<CChar>?, _ extensionID: UnsafePointer<CChar>?,
    _ out: UnsafeMutablePointer<UnsafeRawPointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        let out = try required(out, "out")
        let (pluginID, extensionID) = (try text(pluginID, "plugin_id"), try text(extensionID, "extension_id"))
        guard let plugin = handle.runtime.plugins.first(where: { $0.id == pluginID }) else {
            throw SeamError(.notFound, "no plugin with the id \"\(pluginID)\" is loaded")
        }
        guard let table = plugin.table(ofExtension: extensionID) else {
            throw SeamError(.notFound, "plugin \(pluginID) offers no extension \"\(extensionID)\"")
        }
        out.pointee = table
    }
}

@c @implementation
public func seam_runtime_describe(
    _ runtime: OpaquePointer?, _ id: UnsafePointer<CChar>?, _ json: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        let out = try required(json, "json")
        out.pointee = copyCString(try Description.of(try text(id, "id"), in: handle.runtime).serialized(indent: 2))
    }
}
