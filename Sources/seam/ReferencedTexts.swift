import Datasets
import Trainer

/// Sources to generate from, each with the texts that the result is compared with.
struct ReferencedTexts {
    let sourceTexts: [String]
    /// The same as the model reads them.
    let sources: TokenPairs
    let references: [[String]]
    /// The route of each source, nil for the default one; empty: that of all.
    let routes: [String?]

    /// - Parameters:
    ///   - tokens: of the same texts.
    ///   - areGrouped: targets of equal sources are references of one text.
    ///   - limit: takes the first sources only; 0 for all.
    init(_ texts: TextPairs, tokens: TokenPairs, areGrouped: Bool, limit: Int = 0) {
        let all = areGrouped ? texts.rowsBySource() : texts.sources.indices.map { [$0] }
        let groups = limit > 0 ? Array(all.prefix(limit)) : all
        sourceTexts = groups.map { texts.sources[$0[0]] }
        sources = tokens.taking(groups.map { $0[0] })
        references = groups.map { $0.map { texts.targets[$0] } }
        routes = texts.routes.isEmpty ? [] : groups.map { texts.routes[$0[0]] }
    }
}
