// Methods that learn prefixes of attentions have this in common: which attentions get one, how many tokens, in which
// layout, behind which other prefixes, and that what is left for inference are plain numbers. `Prefixes` is that; a
// method adds how it computes the numbers (`PrefixSource`).

/// How a method computes the prefix of one attention.
public protocol PrefixSource: AnyObject {
    var shape: PrefixShape { get }

    /// What the host stores, trains and saves, with names from `PrefixShape.name`.
    var parameters: [Parameter] { get }

    /// The keys and values of all layers, of the shape's `sizes`, from the parameters alone.
    func keysAndValues(in context: Context) -> Tensor
}

/// The prefixes that an adapter gives to the attentions of a backbone: one source each.
public struct Prefixes {
    private let sources: [any PrefixSource]

    /// The options that every method has; those of the descriptor begin with them.
    public static var options: [Option] {
        [
            .int("prefix_length", default: "20", in: 1...4096, "Tokens of each prefix."),
            .string(
                "attention", default: "\"all\"", choices: "all|encoder|decoder|cross",
                """
                Which attention gets a prefix: the encoder's over its own tokens, the decoder's over its own, the \
                decoder's over the encoder's; all: each of them that the backbone has.
                """),
            .double(
                "deviation", default: "0.1", in: 0...1000,
                """
                Standard deviation of the embedding at the start, or of the prefix where it has none. 1, as torch and PEFT \
                have it, saturates attention at learning rates where 0.1 trains.
                """),
        ]
    }

    /// Reads the common options and makes a source for each attention; for an adapter that is `folded`, the numbers
    /// themselves.
    /// - Throws: a sentence for the user where the backbone does not take such a prefix, and what `source` throws.
    public init(
        options: Options, site: Site, _ source: (PrefixShape) throws(PluginError) -> any PrefixSource
    ) throws(PluginError) {
        let folded = try options.bool("folded")
        var sources: [any PrefixSource] = []
        for shape in try PrefixShape.all(options: options, site: site) {
            sources.append(folded ? try PlainPrefix(shape, options: options) : try source(shape))
        }
        self.sources = sources
    }

    public var parameters: [Parameter] { sources.flatMap { $0.parameters } }

    /// `Adapter.forward`: what the adapters before gave, and the own tokens behind them.
    public func appended(to inputs: [Tensor], in context: Context) -> [Tensor] {
        var outputs = inputs
        for source in sources {
            let (shape, all) = (source.shape, source.keysAndValues(in: context))
            for (layer, place) in shape.places.enumerated() {
                let own = all.slice(0, from: layer, length: 1).reshape([2, shape.heads, shape.tokens, shape.headDim])
                outputs[place] = inputs[place].isNull ? own : inputs[place].concat([own], axis: 2)
            }
        }
        return outputs
    }

    /// `Adapter.fold`: one tensor for each parameter of the folded adapter.
    public func folded(in context: Context) -> [Tensor] { sources.map { $0.keysAndValues(in: context) } }
}

/// A prefix whose numbers are the parameter: [layers, 2, kv heads, tokens, head_dim], named "decoder.prefix" and so on.
public final class PlainPrefix: PrefixSource {
    public let shape: PrefixShape
    private let numbers: Parameter

    public var parameters: [Parameter] { [numbers] }

    /// Normal numbers, with the option "deviation".
    public init(_ shape: PrefixShape, options: Options) throws(PluginError) {
        self.shape = shape
        numbers = Parameter(
            shape.name("prefix"), shape.sizes, .normal(mean: 0, deviation: try options.double("deviation")))
    }

    public func keysAndValues(in context: Context) -> Tensor { context[numbers] }
}
