import CSeam
import Support

/// Which half of a model.
public enum Stack: Int32, Sendable, CaseIterable {
    case encoder = 0
    case decoder = 1

    /// "encoder" or "decoder".
    public var name: String { self == .encoder ? "encoder" : "decoder" }
}

/// One place inside a backbone where adapters attach (`seam_point`): a layer, a matrix in one, or what flows into the first.
public struct Point: Sendable, Equatable {
    /// One of the matrices that a fused one does the work of.
    public struct Part: Sendable, Equatable {
        public let name: String
        public let width: Int
    }

    public let stack: Stack
    public let seam: String
    /// The name of a projection ("q"); empty for a whole layer and for embedded tokens.
    public let name: String
    /// The layer, from 0; 0 for embedded tokens.
    public let layer: Int
    public let inputWidth: Int
    public let outputWidth: Int
    /// What one matrix that does the work of several gives, in order; empty where it is one.
    public let parts: [Part]
    /// The names of the backbone's parameters that are its matrix and its bias; nil: none is, or there is none.
    public let weightParameter: String?
    public let biasParameter: String?
    /// Whether the matrix lies as [in, out].
    public let isTransposed: Bool

    /// The point as saved adapters name it: "decoder.0.q", "encoder.3", "encoder.embedding".
    public var path: String { Self.path(stack, seam, layer, name) }

    private static func path(_ stack: Stack, _ seam: String, _ layer: some BinaryInteger, _ name: String) -> String {
        if seam == SEAM_PROMPT_EMBEDDING { return "\(stack.name).embedding" }
        return "\(stack.name).\(layer)\(name.isEmpty ? "" : "." + name)"
    }

    /// Whether it is a matrix, not a whole layer.
    public var isProjection: Bool { seam == SEAM_PROJECTION }

    /// Whether it is what flows into the first layer of a stack.
    public var isEmbedding: Bool { seam == SEAM_PROMPT_EMBEDDING }

    /// Whether the encoder's tokens flow there, in a decoder: the keys and values of attention over them ("cross_k").
    var isOfSource: Bool { name.hasPrefix("cross_k") || name.hasPrefix("cross_v") }

    /// The seams that have points.
    public static let seams = [SEAM_LAYER_OUTPUT, SEAM_PROJECTION, SEAM_PROMPT_EMBEDDING]

    /// Reads and checks one of a backbone's.
    /// - Parameters:
    ///   - layers: of the encoder and of the decoder.
    ///   - dModel: the width of what leaves a layer.
    package init(
        _ pointer: UnsafePointer<seam_point>, layers: (encoder: Int, decoder: Int), dModel: Int, origin: String
    ) throws {
        let source = try bounded(pointer, atLeast: SEAM_POINT_SIZE_1_0, "a point of the backbone", origin: origin)
        guard let stack = Stack(rawValue: source.stack) else {
            throw SeamError(.plugin, "a point of the backbone is in the unknown stack \(source.stack)", origin: origin)
        }
        seam = try checkedName(source.seam, "the seam of a point", origin: origin)
        guard Self.seams.contains(seam) else {
            throw SeamError(
                .plugin,
                "a point of the backbone is of the seam \"\(seam)\": it must be \(Self.seams.dropLast().joined(separator: ", ")) or \(Self.seams.last!)",
                origin: origin)
        }
        let isProjection = seam == SEAM_PROJECTION
        name = isProjection ? try checkedName(source.name, "the name of a point", origin: origin) : ""
        let count = stack == .encoder ? layers.encoder : layers.decoder
        let isEmbedding = seam == SEAM_PROMPT_EMBEDDING
        let label = "the point \"\(Self.path(stack, seam, source.layer, name))\""
        let what = isEmbedding ? "is of embedded tokens" : "is a whole layer"
        func wrong(_ what: String) -> SeamError { SeamError(.plugin, "\(label) \(what)", origin: origin) }
        guard isProjection || source.name.map({ $0.pointee == 0 }) ?? true else {
            throw wrong("\(what) and must have the name \"\", found \"\(String(cString: source.name))\"")
        }
        guard !isEmbedding || source.layer == 0 else {
            throw wrong("is of embedded tokens and must have the layer 0, found \(source.layer)")
        }
        guard source.layer >= 0, source.layer < Int64(count) else {
            throw wrong("is in layer \(source.layer), and the \(stack.name) has \(count)")
        }
        let most = Int64(1 << 20)
        guard (1...most).contains(source.input_width), (1...most).contains(source.output_width) else {
            throw wrong("has the widths \(source.input_width) and \(source.output_width), which must be 1 ... \(most)")
        }
        (self.stack, layer) = (stack, Int(source.layer))
        (inputWidth, outputWidth) = (Int(source.input_width), Int(source.output_width))
        guard isProjection || inputWidth == dModel && outputWidth == dModel else {
            throw wrong(
                "\(what) and must have the widths of d_model, \(dModel), found \(inputWidth) and \(outputWidth)"
            )
        }
        parts = try Self.parts(of: source, label, origin: origin)
        guard parts.isEmpty || parts.reduce(0, { $0 + $1.width }) == outputWidth else {
            throw wrong("has parts of \(parts.map(\.width)) together, and its output has \(outputWidth)")
        }
        func parameter(_ name: UnsafePointer<CChar>?, _ member: String) throws -> String? {
            guard isProjection, let name else { return nil }
            return try checkedName(name, "\(member) of \(label)", allowsCapitals: true, origin: origin)
        }
        weightParameter = try parameter(source.weight_parameter, "weight_parameter")
        biasParameter = try parameter(source.bias_parameter, "bias_parameter")
        isTransposed = try pluginFlag(source.is_transposed, "is_transposed of \(label)", origin: origin)
    }

    private static func parts(of source: seam_point, _ label: String, origin: String) throws -> [Part] {
        guard source.part_names != nil else { return [] }
        let names = try tableEntries(source.part_names, source.part_count, "part", of: label, origin: origin) {
            try checkedName($0, "a part of \(label)", origin: origin)
        }
        try refuseTwice(names, "\(label): the part", origin: origin)
        guard let widths = source.part_widths, names.count >= 2 else {
            throw SeamError(
                .plugin, "\(label) must have part_widths and two or more parts, found \(names.count)", origin: origin)
        }
        return try names.enumerated().map { index, name in
            guard (1...Int64(1 << 20)).contains(widths[index]) else {
                throw SeamError(
                    .plugin, "\(label): part \"\(name)\" must have a width of 1 ... \(1 << 20), found \(widths[index])",
                    origin: origin)
            }
            return Part(name: name, width: Int(widths[index]))
        }
    }

    /// Throws `.plugin` where a point names a parameter of another shape than its matrix or bias has.
    package func check(_ parameters: ParameterSet, origin: String) throws {
        let matrix = isTransposed ? [inputWidth, outputWidth] : [outputWidth, inputWidth]
        for (name, expected, what) in [(weightParameter, matrix, "matrix"), (biasParameter, [outputWidth], "bias")] {
            guard let name else { continue }
            let found = parameters[name]?.shape
            guard let found, found.elementsEqual(expected) else {
                throw SeamError(
                    .plugin,
                    "the point \"\(path)\" names the parameter \"\(name)\" as its \(what), \(expected): found \(found?.description ?? "no such parameter")",
                    origin: origin)
            }
        }
    }
}
