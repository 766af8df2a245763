/// Which attention a prefix is for, and its sizes.
public struct PrefixShape {
    public let attention: PrefixAttention
    /// heads: of keys and values. The same in all layers.
    public let layers, heads, tokens, headDim: Int
    /// Which inputs and outputs of the seam are its layers.
    let places: Range<Int>

    /// The width of the keys, or of the values, of one token: all heads together.
    public var width: Int { heads * headDim }
    /// The shape of keys and values of all layers: [layers, 2, kv heads, tokens, head_dim].
    public var sizes: [Int] { [layers, 2, heads, tokens, headDim] }

    /// What a parameter of this prefix is called: "decoder." and the part.
    public func name(_ part: StaticString) -> String { "\(attention.name).\(part)" }

    /// Numbers of each token in turn, [tokens, layers * 2 * width] or another shape of the same order, as keys and
    /// values: key and value of the first layer, of the second ..., each by heads. PEFT's prefix tuning has this order.
    public func keysAndValues(from rows: Tensor) -> Tensor {
        rows.reshape([tokens, layers, 2, heads, headDim]).permute([1, 2, 3, 0, 4])
    }

    /// The keys and values of a text's first tokens, of the shape's `sizes`, out of what `Adapter.prepare` is given on the
    /// seam. Nil, with the failure latched, for a text that has none here, or fewer tokens.
    public func keysAndValues(ofText inputs: [Tensor], in context: Context) -> Tensor? {
        var layers: [Tensor] = []
        for place in places {
            guard inputs.indices.contains(place), !inputs[place].isNull else {
                _ = context.fail(
                    .invalidArgument,
                    "the text has no keys and values of the \(attention.name) attention: it has no target, or another "
                        + "attention is to be chosen")
                return nil
            }
            let found = inputs[place].size(2)
            guard found >= tokens else {
                _ = context.fail(
                    .invalidArgument,
                    "the text must have as many tokens in the \(attention.name) attention as the prefix, \(tokens), or more, "
                        + "found \(found)")
                return nil
            }
            layers.append(
                inputs[place].slice(2, from: 0, length: tokens).reshape([1, 2, heads, tokens, headDim]))
        }
        return layers.isEmpty ? nil : layers[0].concat(Array(layers.dropFirst()), axis: 0)
    }

    /// The shapes that the options "attention" and "prefix_length" ask for, in the order of the seam.
    static func all(options: Options, site: Site) throws(PluginError) -> [PrefixShape] {
        let (asked, tokens) = (try options.string("attention"), try options.int("prefix_length"))
        let widths = (site.prefixKeyValueHeads + site.prefixHeadDim).flatMap { $0 }
        guard site.prefixLayers.reduce(0, +) == 0 || widths.allSatisfy({ $0 > 0 }) else {
            throw PluginError(
                .unsupported, "it makes keys and values, and this backbone does not say how wide they are")
        }
        let known = PrefixAttention.allCases.filter { site.prefixLayers[$0.rawValue] > 0 }
        let chosen = asked == "all" ? known : known.filter { asked == $0.name }
        guard !chosen.isEmpty else {
            throw PluginError(
                .unsupported,
                known.isEmpty
                    ? "it gives attentions a prefix, and none of this backbone's takes one"
                    : "this backbone has no attention '\(asked)' that takes a prefix, it has " + list(known))
        }
        for attention in chosen {
            let (limit, before) = (site.maxPrefixLength[attention.rawValue], site.prefixLength[attention.rawValue])
            guard limit == 0 || before + tokens <= limit else {
                throw PluginError(
                    .invalidArgument,
                    "the \(attention.name) attention of this backbone takes a prefix of at most \(limit) tokens, found "
                        + "prefix_length \(tokens)" + (before == 0 ? "" : " behind \(before) of other adapters"))
            }
        }
        var shapes: [PrefixShape] = []
        for attention in chosen {
            let heads = try alike(site.prefixKeyValueHeads[attention.rawValue], "kv_heads", attention)
            let headDim = try alike(site.prefixHeadDim[attention.rawValue], "head_dim", attention)
            shapes.append(
                PrefixShape(
                    attention: attention, layers: site.prefixLayers[attention.rawValue], heads: heads, tokens: tokens,
                    headDim: headDim, places: site.prefixPlaces(of: attention)))
        }
        return shapes
    }

    /// The number that all layers have.
    private static func alike(
        _ numbers: [Int], _ name: StaticString, _ attention: PrefixAttention
    ) throws(PluginError) -> Int {
        if let layer = numbers.indices.first(where: { numbers[$0] != numbers[0] }) {
            throw PluginError(
                .unsupported,
                "it gives all layers of an attention keys and values of one size, and the \(attention.name) attention of "
                    + "this backbone has \(name) \(numbers[0]) in layer 0 and \(numbers[layer]) in layer \(layer)")
        }
        return numbers[0]
    }

    /// 'encoder', 'decoder'
    private static func list(_ attentions: [PrefixAttention]) -> String {
        attentions.dropFirst().reduce("'\(attentions[0].name)'") { "\($0), '\($1.name)'" }
    }
}

extension PrefixAttention {
    /// The attention as options and parameters name it.
    public var name: StaticString {
        switch self {
        case .encoder: "encoder"
        case .decoder: "decoder"
        case .cross: "cross"
        }
    }
}
