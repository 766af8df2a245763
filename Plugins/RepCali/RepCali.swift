import CSeam
import SeamPlugin

/// RepCali (Zhang, Fan, Su and Gao 2025, arXiv 2505.08463v2): a calibration block between encoder and decoder. Each hidden
/// state h is moved by a learned vector d, the embedding of a *shape seed*, and normalised:
///
///     p = LayerNorm(h + lambda d)
///
/// What could be read of the paper gives h + lambda d and names a LayerNorm; that it is on the sum is our reading. The
/// paper trains the block together with the whole backbone, which adapts to the new scale of p. A frozen
/// backbone cannot, so the block must then start as the identity, and a plain LayerNorm cannot: it forces every
/// state to mean 0 and deviation 1, while an encoder's output has its own at every position (T5 ends in an RMS
/// norm, which does not centre; BART's and Marian's last LayerNorm has learned weights that differ by feature). No
/// gain and bias, the same at every position, undo that. The `identity` form therefore gives each state its own
/// mean mu(h) and deviation sigma(h) back. With N the LayerNorm without weights,
///
///     p = gamma N(h + lambda d) sigma(h) + mu(h) + beta
///       = h + sigma(h) (gamma N(h + lambda d) - N(h)) + beta        since h = sigma(h) N(h) + mu(h)
///
/// The second line is what is computed: at the start (d = 0, gamma = 1, beta = 0) the bracket is zero to
/// the last bit, so p is h exactly and not up to rounding.
final class RepCali: Adapter {
    private let lambda: Double
    private let epsilon: Double
    /// Starts as the identity, and keeps the form above that can; else the paper's plain LayerNorm.
    private let identity: Bool
    private let perPosition: Bool
    /// The learned vectors d, one row or one row a position.
    private let embedding: Parameter
    /// gamma and beta; nil without a norm.
    private let norm: (gain: Parameter, bias: Parameter)?

    var parameters: [Parameter] {
        guard let norm else { return [embedding] }
        return [embedding, norm.gain, norm.bias]
    }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let perPosition = try options.string("seed") == "positions"
        let rows = perPosition ? try Self.positions(options, site) : 1
        // Standard normal is what an embedding layer starts from in the framework of the paper. It is also
        // the one scale that needs no look at the backbone: the sum is normalised right after, and a unit
        // deviation is what a state has once it is normalised. Where an encoder's outputs are small next to
        // 1, a smaller `deviation` keeps h visible in h + lambda d.
        let deviation = try options.double("deviation")
        let identity = try Self.identity(options, site)
        let embedding = Parameter(
            "embedding.weight", [rows, site.dModel], identity ? .zeros : .normal(mean: 0, deviation: deviation))
        self.init(
            embedding, lambda: try options.double("lambda"), epsilon: try options.double("epsilon"),
            identity: identity, perPosition: perPosition, normalises: !(try options.string("norm") == "none"))
    }

    private init(
        _ embedding: Parameter, lambda: Double, epsilon: Double, identity: Bool, perPosition: Bool, normalises: Bool
    ) {
        (self.embedding, self.lambda, self.epsilon) = (embedding, lambda, epsilon)
        (self.identity, self.perPosition) = (identity, perPosition)
        let width = embedding.shape[1]
        norm = normalises ? (Parameter("norm.weight", [width], .ones), Parameter("norm.bias", [width], .zeros)) : nil
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let hidden = inputs[0]
        let moved = hidden + shift(in: context, positions: hidden.size(1))
        guard let norm else { return [moved] }
        if !identity { return [moved.layerNorm(context[norm.gain], context[norm.bias], epsilon: epsilon)] }
        let calibrated = moved.layerNorm(epsilon: epsilon) * context[norm.gain]
        let centred = hidden - hidden.mean(-1, keep: true)
        let deviation = (centred.square().mean(-1, keep: true) + epsilon).sqrt()
        return [hidden + deviation * (calibrated - hidden.layerNorm(epsilon: epsilon)) + context[norm.bias]]
    }

    /// The vectors that are added, lambda d: [rows, d_model].
    func shift(in context: Context) -> Tensor { context[embedding] * lambda }

    /// The vectors for the first positions of a source, or the one for all. Positions beyond the table,
    /// which no training has seen and which are often padding, are normalised like the others but not
    /// moved.
    private func shift(in context: Context, positions: Int) -> Tensor {
        let shift = shift(in: context)
        let (rows, width) = (embedding.shape[0], embedding.shape[1])
        if !perPosition { return shift }
        if positions <= rows { return shift.slice(0, from: 0, length: positions) }
        return shift.concat([context.full(0, [positions - rows, width])], axis: 0)
    }

    /// Whether the block starts as the identity; `auto` is written back as what it became, because the
    /// form of the block, not only its first values, depends on it.
    private static func identity(_ options: Options, _ site: Site) throws(PluginError) -> Bool {
        let form = try options.string("initialization")
        let identity = form == "auto" ? site.backboneFrozen : form == "identity"
        try options.resolve("initialization", to: identity ? "identity" : "paper")
        return identity
    }

    /// How many positions get a vector of their own.
    private static func positions(_ options: Options, _ site: Site) throws(PluginError) -> Int {
        let asked = try options.int("max_positions")
        if asked > 0 { return asked }
        if site.maxSourcePositions > 0 { return site.maxSourcePositions }
        throw PluginError(
            .invalidArgument,
            "seed 'positions' learns a vector for each source position, and this backbone accepts sources of "
                + "any length: set max_positions to the longest source")
    }
}

extension RepCali {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "repcali",
            summary: "RepCali: calibrates the encoder's output with a learned shift (Zhang et al. 2025).",
            seams: [Seam.encoderOutput],
            options: [
                .double("lambda", default: "1.0", "Weight of the learned vector that is added to each hidden state."),
                .string(
                    "seed", default: "\"ones\"", choices: "ones|positions",
                    "ones: the same learned vector at every position, as in the paper; positions: one vector each."),
                .string(
                    "norm", default: "\"layer\"", choices: "layer|none",
                    "layer: normalise after the shift, where the paper's LayerNorm is taken to be; none: only shift."),
                .string(
                    "initialization", default: "\"auto\"", choices: "auto|identity|paper",
                    """
                    identity: the block starts as the identity map; paper: as a plain LayerNorm of the shifted \
                    state; auto: identity if the backbone is frozen, else paper.
                    """),
                .double(
                    "deviation", default: "1.0", in: 0...1000,
                    "Standard deviation of the learned vectors at the start, with initialization paper."),
                .int(
                    "max_positions", default: "0", in: 0...1_000_000,
                    """
                    Positions that have a vector of their own, with seed positions; 0: as many as the backbone \
                    accepts. Later positions are not shifted.
                    """),
                .double("epsilon", default: "1e-5", in: 1e-12...1, "Added to the variance before its square root."),
            ],
            methods: [
                .tensor("shift", "What is added to the hidden states, lambda included: [1 or positions, d_model].") {
                    RepCali.call($0, $1) { $0.shift(in: $1) }
                },
                .number("lambda", "The weight of the learned vectors.") {
                    RepCali.call($0, $1) { adapter, _ in adapter.lambda }
                },
            ])
    }
}

private let plugin = Plugin(
    id: "org.seamkit.repcali", version: "1.0.0", license: "Apache-2.0",
    summary: "RepCali, the calibration block between encoder and decoder.",
    adapters: [AdapterFactory(RepCali.self) { RepCali.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
