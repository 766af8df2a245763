import Files
import Support

/// One value of every axis.
public struct SweepPoint: Hashable, Sendable {
    /// The settings in the order of the axes.
    public let settings: [SweepSetting]

    /// "prefix_length 20, learning_rate 0.01".
    public var title: String { settings.map(\.title).joined(separator: ", ") }
    /// The value of the first axis.
    var first: String { settings[0].value }
    /// The settings of all other axes.
    var rest: [SweepSetting] { Array(settings.dropFirst()) }
}

/// One training: a variant at a point of the grid with a seed.
public struct SweepRun: Hashable, Sendable {
    public let variant: SweepVariant
    public let point: SweepPoint
    public let seed: UInt64

    /// "gate, prefix_length 20, seed 0".
    public var title: String { "\(variant.name), \(point.title), seed \(seed)" }
    /// Its folder within the sweep's.
    public var folder: String {
        let parts = ["runs", variant.name] + point.settings.map { "\($0.name)-\($0.value)" } + ["seed-\(seed)"]
        return parts.joined(separator: "/")
    }
}

/// What a sweep trains: every variant at every point of a grid with every seed.
public struct SweepPlan: Equatable, Sendable {
    /// The first one is what the others are compared with.
    public let variants: [SweepVariant]
    /// The first one is the horizontal axis of the plots.
    public let axes: [SweepAxis]
    public let seeds: [UInt64]

    /// Throws `SeamError(.invalidArgument)` without variants, axes or seeds, for two of one name, and where a variant
    /// sets what is varied.
    public init(variants: [SweepVariant], axes: [SweepAxis], seeds: [UInt64]) throws {
        func require(_ count: Int, _ twice: String?, _ flag: String) throws {
            guard count > 0 else { throw SeamError(.invalidArgument, "a sweep needs \(flag), found none") }
            if let twice { throw SeamError(.invalidArgument, "\(flag) \(twice) is given twice") }
        }
        try require(variants.count, firstTwice(variants.map(\.name)), "--variant")
        try require(axes.count, firstTwice(axes.map(\.name)), "--vary")
        try require(seeds.count, firstTwice(seeds).map(String.init), "--seeds")
        for variant in variants {
            for axis in axes {
                let varied = SweepSetting(name: axis.name, value: "")
                if let setting = variant.settings.first(where: { $0.sets(sameAs: varied) }) {
                    throw SeamError(
                        .invalidArgument,
                        "--variant \(variant.text) sets \(setting.option), which --vary \(axis.text) varies")
                }
            }
        }
        (self.variants, self.axes, self.seeds) = (variants, axes, seeds)
    }

    /// Every combination of values; the first axis changes slowest.
    public var points: [SweepPoint] {
        axes.reduce([[]]) { settings, axis in
            settings.flatMap { known in axis.values.map { known + [SweepSetting(name: axis.name, value: $0)] } }
        }.map { SweepPoint(settings: $0) }
    }

    /// The runs in the order in which they are trained: the grid with the first seed, then with the next, so that there is
    /// something to look at early.
    public var runs: [SweepRun] {
        seeds.flatMap { seed in
            points.flatMap { point in variants.map { SweepRun(variant: $0, point: point, seed: seed) } }
        }
    }

    /// The plan as it is kept in the sweep's folder.
    package var json: JSON {
        [
            "variants": .array(variants.map { .string($0.text) }), "vary": .array(axes.map { .string($0.text) }),
            "seeds": .array(seeds.map { .string("\($0)") }),
        ]
    }

    /// Reads what `json` gave; errors name `place`.
    package init(_ json: JSON, in place: String) throws {
        let seeds = try json.requireStrings("seeds", in: place).map { text in
            guard let seed = UInt64(text) else {
                throw SeamError(.format, "\(place): \"seeds\" must hold whole numbers, found \"\(text)\"")
            }
            return seed
        }
        try self.init(
            variants: try json.requireStrings("variants", in: place).map { try SweepVariant($0) },
            axes: try json.requireStrings("vary", in: place).map { try SweepAxis($0) }, seeds: seeds)
    }
}
