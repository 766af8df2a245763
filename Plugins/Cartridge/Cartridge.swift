import CSeam
import SeamPlugin

/// Cartridges (Eyuboglu et al. 2025, arXiv 2506.06266): the keys and values of a long text, kept as a prefix that is then
/// trained to answer as the text would, in a fraction of its length. What is here is what PEFT has under that name: the
/// numbers of a prefix themselves are the parameters,
///
///     (K_l, V_l), each [kv heads, tokens, head_dim], in every layer l,
///
/// the first `frozen_tokens` of them stay as they are, since models use their first token as a place to attend to nothing,
/// and `prepare` sets all of them to those of the first tokens of a text. On what texts it is trained, which the paper makes
/// with the model itself, is the user's.
final class Cartridge: Adapter {
    private let prefixes: Prefixes
    /// None in a folded one.
    private let sources: [CartridgePrefix]

    var parameters: [Parameter] { prefixes.parameters }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let frozen = try options.int("frozen_tokens")
        var sources: [CartridgePrefix] = []
        let prefixes = try Prefixes(options: options, site: site) { shape throws(PluginError) in
            guard frozen <= shape.tokens else {
                throw PluginError(
                    .invalidArgument,
                    "the option 'frozen_tokens' must be at most \(shape.tokens), the prefix_length, found \(frozen)")
            }
            let source = try CartridgePrefix(shape, frozen: frozen, options: options)
            sources.append(source)
            return source
        }
        self.init(prefixes, sources)
    }

    private init(_ prefixes: Prefixes, _ sources: [CartridgePrefix]) {
        (self.prefixes, self.sources) = (prefixes, sources)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] { prefixes.appended(to: inputs, in: context) }

    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        sources.flatMap { $0.prepared(from: examples.inputs, in: context) }
    }

    func fold(in context: Context) -> [Tensor] { prefixes.folded(in: context) }
}

/// The prefix of one attention, whose first tokens are not trained.
final class CartridgePrefix: PrefixSource {
    let shape: PrefixShape
    /// [layers, 2, kv heads, tokens, head_dim], of the first tokens and of the others; without any: none.
    private let parts: [(parameter: Parameter, tokens: Range<Int>)]

    var parameters: [Parameter] { parts.map { $0.parameter } }

    init(_ shape: PrefixShape, frozen: Int, options: Options) throws(PluginError) {
        self.shape = shape
        let start = Parameter.Initial.normal(mean: 0, deviation: try options.double("deviation"))
        func part(_ name: StaticString, _ tokens: Range<Int>, isFrozen: Bool) -> (Parameter, Range<Int>) {
            var sizes = shape.sizes
            sizes[3] = tokens.count
            return (Parameter(shape.name(name), sizes, start, frozen: isFrozen), tokens)
        }
        parts = [
            part("frozen", 0..<frozen, isFrozen: true), part("trained", frozen..<shape.tokens, isFrozen: false),
        ].filter { !$0.1.isEmpty }
    }

    func keysAndValues(in context: Context) -> Tensor {
        let all = context[parts[0].parameter]
        return parts.count > 1 ? all.concat([context[parts[1].parameter]], axis: 3) : all
    }

    func prepared(from inputs: [Tensor], in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        guard let text = shape.keysAndValues(ofText: inputs, in: context) else { return [] }
        return parts.map { ($0.parameter, text.slice(3, from: $0.tokens.lowerBound, length: $0.tokens.count)) }
    }
}

extension Cartridge {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "cartridge",
            summary: "A long text as a trained prefix, started from its own keys and values (Eyuboglu et al. 2025).",
            seams: [Seam.attentionPrefix],
            options: Prefixes.options + [
                .int("frozen_tokens", default: "1", in: 0...4096, "Tokens at the beginning that are not trained.")
            ], folds: true, prepares: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.cartridge", version: "1.0.0", license: "Apache-2.0",
    summary: "Long texts as trained prefixes.",
    adapters: [AdapterFactory(Cartridge.self) { Cartridge.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
