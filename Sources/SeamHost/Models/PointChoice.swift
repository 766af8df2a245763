import CSeam
import Files
import Support

/// Which of a backbone's points an adapter is to sit on: the options "layers", "targets" and "stack", which every
/// adapter on a seam inside the layers has from the host.
struct PointChoice {
    static let options = ["layers", "targets", "stack"]

    /// What the options are, for people and tools.
    static func descriptions(_ factory: AdapterFactory) -> [JSON] {
        let own = factory.defaultTargets
        let known: [(String, String, String)] = [
            ("layers", "all", "Layers where it sits: a list of numbers from 0, or a text such as 0-3,7."),
            (
                "targets", own.isEmpty ? "all" : own.joined(separator: ","),
                "Projections where it sits: a list of names, or a text such as q,v."
            ),
            (
                "stack", factory.seams[0] == SEAM_PROMPT_EMBEDDING ? "encoder" : "both",
                "Which stack of an encoder-decoder: encoder, decoder or both."
            ),
        ]
        return known.map { ["name": .string($0), "default": .string($1), "doc": .string($2)] }
    }

    /// Nil: all.
    private var layers: [Int]?
    /// Nil: the factory's own.
    private var targets: [String]?
    private var stack: Stack?
    /// Whether "both" was asked for: before a text of an encoder-decoder vectors are put in its encoder where nothing is.
    private var takesBoth = false

    /// Takes the host's options out of those given.
    /// - Returns: the plugin's own.
    /// - Throws: `.invalidArgument` for a value of another form.
    static func take(from options: JSON, owner: String) throws -> (choice: PointChoice, own: JSON) {
        guard let members = options.objectValue else { return (PointChoice(), options) }
        var choice = PointChoice()
        for (key, value) in members {
            func wrong(_ expected: String) throws -> SeamError {
                SeamError(
                    .invalidArgument, "\(owner): option \"\(key)\" must be \(expected), found \(try value.serialized())"
                )
            }
            switch key {
            case "layers":
                guard let layers = numbers(value) else {
                    throw try wrong("a list of layers from 0, one or more, or a text such as \"0-3,7\"")
                }
                choice.layers = layers
            case "targets":
                let names =
                    value.arrayValue?.map(\.stringValue)
                    ?? value.stringValue?.split(separator: ",").map { String($0) } ?? []
                guard !names.isEmpty, !names.contains(where: { $0?.isEmpty ?? true }) else {
                    throw try wrong("a list of names of projections, one or more, or a text such as \"q,v\"")
                }
                choice.targets = names.compactMap(\.self)
            case "stack":
                guard let stack = Stack.allCases.first(where: { .string($0.name) == value }) else {
                    if value == "both" {
                        choice.takesBoth = true
                        continue
                    }
                    throw try wrong("\"encoder\", \"decoder\" or \"both\"")
                }
                choice.stack = stack
            default: break
            }
        }
        return (choice, .object(members.filter { !Self.options.containsExactly($0.key) }))
    }

    /// A list of numbers, or "0-3,7"; nil for anything else.
    private static func numbers(_ value: JSON) -> [Int]? {
        let most = 1 << 16
        func number(_ value: JSON) -> Int? { value.intValue.flatMap { (0..<most).contains($0) ? $0 : nil } }
        if let list = value.arrayValue {
            let found = list.compactMap(number)
            return found.isEmpty || found.count < list.count ? nil : found
        }
        if let one = number(value) { return [one] }
        guard let text = value.stringValue, !text.isEmpty else { return nil }
        var result: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map {
                $0.allSatisfy(\.isNumber) ? Int($0) : nil
            }
            guard ends.count <= 2, let first = ends.first ?? nil, let last = ends.last ?? nil, first <= last,
                last < most
            else {
                return nil
            }
            result += first...last
        }
        return result
    }

    /// The points of a seam that are chosen, as indices, in the backbone's order.
    ///
    /// A target is the name of a point. One matrix that does the work of several, such as GPT-2's "qkv", is taken or
    /// left as a whole, as PEFT does it: a name of one of its parts is refused with a sentence that proposes the whole;
    /// only among a factory's default targets does a part stand for the whole.
    /// - Throws: one sentence with all that does not exist, and what there is.
    func indices(on seam: String, for factory: AdapterFactory, in info: BackboneInfo) throws -> [Int] {
        let isEmbedding = seam == SEAM_PROMPT_EMBEDDING
        let first = isEmbedding && !takesBoth ? info.points.first { $0.isEmbedding }?.stack : nil
        let all = info.points.indices.filter {
            info.points[$0].seam == seam && (stack ?? first ?? info.points[$0].stack) == info.points[$0].stack
        }
        let points = all.map { info.points[$0] }
        if isEmbedding, let option = layers != nil ? "layers" : targets != nil ? "targets" : nil {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(factory.id)\": option \"\(option)\" chooses among layers, and \(seam) is before the first: choose with \"stack\""
            )
        }
        var missing: [String] = []
        if points.isEmpty, let stack { missing.append("no points of \(seam) in the \(stack.name)") }
        for layer in Set(layers ?? []).sorted() where !points.isEmpty && !points.contains(where: { $0.layer == layer })
        {
            missing.append("no layer \(layer)")
        }
        var proposals: [String] = []
        for target in targets ?? [] where !points.isEmpty && !points.contains(where: { $0.name == target }) {
            missing.append("no projection \"\(target)\"")
            guard let whole = points.first(where: { $0.parts.contains { $0.name == target } })?.name else { continue }
            proposals.append("\"\(target)\" is part of \"\(whole)\", which is adapted as a whole: name that")
        }
        guard missing.isEmpty else {
            let proposal = proposals.isEmpty ? "" : "; \(listed(proposals, "; "))"
            throw SeamError(
                .notFound,
                "adapter \"\(factory.id)\": the backbone has \(listed(missing, ", ")); it has \(Self.summary(of: seam, in: info))\(proposal)"
            )
        }
        let chosen = all.filter { index in
            let point = info.points[index]
            let isInLayers = layers?.contains(point.layer) ?? true
            guard isInLayers, point.isProjection else { return isInLayers }
            if let targets { return targets.contains(point.name) }
            let own = factory.defaultTargets
            return own.isEmpty || own.contains(point.name) || point.parts.contains { own.contains($0.name) }
        }
        guard !chosen.isEmpty else {
            throw SeamError(
                .notFound,
                "adapter \"\(factory.id)\": none of its targets (\((targets ?? factory.defaultTargets).joined(separator: ", "))) is in the layers that were chosen; the backbone has \(Self.summary(of: seam, in: info))"
            )
        }
        return chosen
    }

    /// The indices of points by the names that a saved adapter has for them.
    /// - Throws: `.incompatible` with all that the backbone does not have.
    static func indices(
        named names: [String], on seam: String, for factory: AdapterFactory, in info: BackboneInfo
    ) throws -> [Int] {
        let wanted = Set(names)
        let found = info.points.indices.filter {
            info.points[$0].seam == seam && wanted.contains(info.points[$0].path)
        }
        let known = Set(found.map { info.points[$0].path })
        let missing = names.filter { !known.contains($0) }
        guard missing.isEmpty, !found.isEmpty, names.count == found.count else {
            let what = missing.isEmpty ? "no point, or one twice" : listed(missing.map { "\"\($0)\"" }, ", ")
            throw SeamError(
                .incompatible,
                "adapter \"\(factory.id)\" was made for the points \(what) of \(seam), which this backbone does not have; it has \(summary(of: seam, in: info))"
            )
        }
        return found
    }

    /// What there is, for a sentence: "decoder layers 0 ... 11 with q, k, v, o".
    static func summary(of seam: String, in info: BackboneInfo) -> String {
        let parts = Stack.allCases.compactMap { stack -> String? in
            let points = info.points.filter { $0.seam == seam && $0.stack == stack }
            guard let first = points.map(\.layer).min(), let last = points.map(\.layer).max() else { return nil }
            if seam == SEAM_PROMPT_EMBEDDING { return "the \(stack.name)'s embedded tokens" }
            var names: [String] = []
            for point in points where point.isProjection && !names.contains(point.name) { names.append(point.name) }
            return "\(stack.name) layers \(first) ... \(last)\(names.isEmpty ? "" : " with \(listed(names, ", "))")"
        }
        return parts.isEmpty ? "none" : parts.joined(separator: " and ")
    }
}
