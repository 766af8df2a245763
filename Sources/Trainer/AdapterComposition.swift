import CSeam
import Files
import SeamHost
import Support

/// Adapters to make and attach one after the other, as a command names them: "residual-prefix+gate".
public struct AdapterComposition {
    public struct Part {
        public let factory: AdapterFactory
        /// The options that were given, as a JSON object; the rest are defaults.
        public let options: JSON
        /// The learning rate of this adapter; nil: the training's.
        public let learningRate: Double?
    }

    public let parts: [Part]
    /// What is set behind an adapter's id to train it with a learning rate of its own.
    public static let learningRateName = "learning_rate"

    /// Reads names and options; nothing is made yet.
    /// - Parameters:
    ///   - spec: ids of adapters joined by "+", in the order in which they are attached; "none" for none.
    ///   - options: NAME=VALUE, or ID.NAME=VALUE where several of the adapters have the option; ID.learning_rate=VALUE
    ///     gives an adapter a learning rate of its own.
    ///   - defaultHead: of a classification, the adapter that is added unless one that is named is on decoder.output; its
    ///     options stand behind its id. nil: none is added.
    /// - Throws: `.notFound` for an adapter that no plugin offers, and as `adapterOptions`.
    public init(
        parsing spec: String, options: [String] = [], defaultHead: String? = nil, in runtime: Runtime
    ) throws {
        let names = spec == "none" ? [] : spec.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        var factories = try names.map { try runtime.adapterFactory($0) }
        var added: [String] = []
        if let defaultHead, !factories.contains(where: { $0.seams[0] == SEAM_DECODER_OUTPUT }) {
            factories.append(try runtime.adapterFactory(defaultHead))
            added = [defaultHead]
        }
        var rates: [String: Double] = [:]
        let settings = try options.filter { setting in
            guard let (id, value) = Self.learningRate(setting, of: factories.map(\.id)) else { return true }
            guard let rate = Double(value), rate >= 0, rate.isFinite, rates.updateValue(rate, forKey: id) == nil else {
                throw SeamError(.invalidArgument, "--option \(setting): expected one learning rate, 0 or more")
            }
            return false
        }
        let json = try adapterOptions(settings, for: factories, qualifiedOnly: added)
        parts = zip(factories, json).map { Part(factory: $0, options: $1, learningRate: rates[$0.id]) }
    }

    /// The adapter and the value of ID.learning_rate=VALUE; nil for a setting of another form.
    private static func learningRate(_ setting: String, of ids: [String]) -> (id: String, value: Substring)? {
        for id in ids {
            let name = "\(id).\(learningRateName)="
            if setting.hasPrefix(name) { return (id, setting.dropFirst(name.count)) }
        }
        return nil
    }

    /// Makes the adapters and attaches them behind those that a route of a session has. One on prefixes is made for the
    /// prefix that is there when its turn comes.
    /// - Parameters:
    ///   - route: nil for the default one.
    ///   - backboneFrozen: false when the backbone will be trained with them.
    ///   - classes: of the classification that adapters on decoder.output are part of; 0: none.
    ///   - seed: of the initial values.
    /// - Returns: the adapters, in their order.
    /// - Throws: as `Adapter.init` and `Session.attach`; the session then has the adapters that it had before.
    @discardableResult
    public func attach(
        to session: Session, route: String? = nil, backboneFrozen: Bool = true, classes: Int = 0, seed: UInt64 = 0
    ) throws -> [Adapter] {
        try session.attach(all: parts, route: route) { part in
            let adapter = try Adapter(
                backbone: session.backbone, id: part.factory.id, options: part.options, backboneFrozen: backboneFrozen,
                classes: part.factory.seams[0] == SEAM_DECODER_OUTPUT ? classes : 0,
                prefixLength: session.prefixLength(of: route), seed: seed)
            adapter.learningRate = part.learningRate
            return adapter
        }
    }
}
