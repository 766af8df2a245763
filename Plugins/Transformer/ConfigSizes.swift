import SeamPlugin

extension Options {
    /// A size from config.json. The upper bound is far above any model's: it keeps a damaged file from
    /// asking for memory, or for a product, that does not exist.
    func size(_ key: String, default value: Int? = nil, most: Int = 1 << 20) throws(PluginError) -> Int {
        let size = try int(key, default: value)
        guard size > 0, size <= most else {
            throw PluginError(.invalidArgument, "config.json: '\(key)' is \(size); expected 1 to \(most)")
        }
        return size
    }

    /// Whether the file says null, which other reads take for a key that is absent.
    func isNull(_ key: String) throws(PluginError) -> Bool {
        guard let found = try json(key) else { return false }
        return found == "null"
    }

    /// A number of layers.
    func layers(_ key: String, default value: Int? = nil) throws(PluginError) -> Int {
        try size(key, default: value, most: 1000)
    }

    /// How many tokens a layer with a window sees; 0, which is no window, where the file has none.
    func window(_ key: String) throws(PluginError) -> Int {
        let window = try int(key, default: 0)
        guard window >= 0, window <= 1 << 24 else {
            throw PluginError(
                .invalidArgument, "config.json: '\(key)' is \(window); expected 1 to \(1 << 24), or null for none")
        }
        return window
    }

    /// How many tokens each layer sees: `window` those that `layer_types` calls "sliding_attention" or, where the file has
    /// no such list, that the family says; 0, all, the others.
    func windows(_ window: Int, layers: Int, isWindowed: (Int) -> Bool) throws(PluginError) -> [Int] {
        let key = "layer_types"
        guard let count = try count(key) else { return (0..<layers).map { isWindowed($0) ? window : 0 } }
        guard count == layers else {
            throw PluginError(
                .invalidArgument, "config.json: '\(key)' has \(count) layers; expected the \(layers) that the model has"
            )
        }
        var windows: [Int] = []
        for layer in 0..<layers {
            switch try string("\(key).\(layer)") {
            case "full_attention": windows.append(0)
            case "sliding_attention": windows.append(window)
            case let other:
                throw PluginError(
                    .unsupported,
                    "config.json: '\(key).\(layer)' is '\(other)'; expected full_attention or sliding_attention")
            }
        }
        return windows
    }

    /// The width of one head of a model whose heads divide its width.
    func headDim(_ width: Int, heads: Int, _ widthKey: String, _ headsKey: String) throws(PluginError) -> Int {
        guard width % heads == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: '\(widthKey)' is \(width) and '\(headsKey)' \(heads); "
                    + "expected a number that divides the width")
        }
        return width / heads
    }
}
