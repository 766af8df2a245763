import CSeam
import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Backbones and adapters that break the contract of points: a sentence that says whose fault it is.
@Suite struct WrongPointsTests {
    private let scratch: ScratchFolder
    private let runtime: Runtime

    init() throws {
        scratch = try ScratchFolder()
        runtime = Runtime()
        for source in [
            "points-backbone/wrong_visits.c", "low-rank-plugin/low_rank.c", "low-rank-plugin/wrong_points.c",
        ] {
            try runtime.loadPlugin(try compilePlugin(source, into: scratch.path))
        }
    }

    private func open(_ mode: String = "none") throws -> Backbone {
        try Backbone(runtime: runtime, id: "wrong-visits", path: nil, options: ["mode": .string(mode)])
    }

    private func logits(_ session: Session) throws -> [Float] {
        let context = session.makeContext(recordsGradients: false)
        let batch = try Batch(sources: [[3, 4, 5]], info: session.backbone.info)
        return try context.contiguous(try session.forward(context, batch).logits).floats
    }

    @Test func visitsOfABackbone() throws {
        let cases = [
            (
                "skip",
                "backbone \"wrong-visits\" did not visit the point \"decoder.1.q\", where adapter \"low-rank\" is attached"
            ),
            ("point", "visits with point 99, and there are 11"),
            ("phase", "visits with the phase 3 of \"decoder.1.q\""),
            ("value", "visits with NULL for a tensor of \"decoder.1.q\""),
            ("weight", "visits with NULL for a tensor of \"decoder.1.q\""),
            ("short-visit", "struct_size of seam_visit must be at least \(SEAM_VISIT_SIZE_1_0), found 16"),
            ("short-pass", "struct_size of the seam_pass of a visit must be at least \(SEAM_PASS_SIZE_1_0), found 8"),
            ("null-pass", "a visit was given NULL for its pass or itself"),
        ]
        for (mode, words) in cases {
            let session = Session(backbone: try open(mode))
            let plain = try logits(session)
            let adapter = try Adapter(
                backbone: session.backbone, id: "low-rank", options: ["layers": [1], "targets": "q"])
            try session.attach(adapter)
            let error = try #require(throws: SeamError.self, "\(mode)") { _ = try logits(session) }
            #expect(error.code == .plugin && error.origin == "org.seamkit.test.wrong-visits", "\(mode)")
            #expect(error.message.contains(words), "\(error.message)")
            try session.detach(adapter)
            #expect(bitEqual(try logits(session), plain))
        }
    }

    private func adapter(_ mode: String, _ backbone: Backbone) throws -> Adapter {
        try Adapter(
            backbone: backbone, id: "wrong-points", options: ["mode": .string(mode), "layers": [0], "targets": "k"])
    }

    @Test func declarationsOfAnAdapter() throws {
        let backbone = try open()
        for (mode, words) in [
            ("no-phase", "must want the point \"decoder.0.k\" before (1), after (2) or both (3), found 0"),
            ("other-phase", "or both (3), found 4"),
            ("far-parameter", "parameter \"gain\" belongs to point 1000, which must be -1 or 0 ... 0"),
            ("twice", "the parameter \"decoder.0.k.gain\" is declared twice"),
        ] { expectError(.plugin, words) { try adapter(mode, backbone) } }
        let plugin = try #require(runtime.plugins.first { $0.id == "org.seamkit.test.wrong-points" })
        #expect(plugin.liveInstances.load(ordering: .acquiring) == 0)
    }

    @Test func passesOfAnAdapter() throws {
        let session = Session(backbone: try open())
        let plain = try logits(session)
        for (mode, code, words) in [
            ("null-output", .plugin, "adapter \"wrong-points\" returned NULL at the point \"decoder.0.k\""),
            ("other-shape", .plugin, "must return f32 [1, 3, 8] at the point \"decoder.0.k\", found f32 [1, 3, 1]"),
            ("other-type", .plugin, "must return f32 [1, 3, 8] at the point \"decoder.0.k\", found i32 [1, 3, 8]"),
            ("failure", .numeric, "it does not want to"),
        ] as [(String, ErrorCode, String)] {
            let adapter = try adapter(mode, session.backbone)
            try session.attach(adapter)
            let error = try #require(throws: SeamError.self, "\(mode)") { _ = try logits(session) }
            #expect(error.code == code && error.origin == "org.seamkit.test.wrong-points", "\(mode)")
            #expect(error.message.contains(words), "\(error.message)")
            try session.detach(adapter)
        }
        #expect(bitEqual(try logits(session), plain))
    }

    /// The backbone runs each layer in a scope: one that an adapter ends there would free the layer's tensors, and one that
    /// it leaves open would be ended in the place of the layer's.
    @Test func scopesOfAnAdapter() throws {
        let model = try OpenModel(TinyModel(.llama))
        try model.runtime.loadPlugin(try compilePlugin("low-rank-plugin/wrong_points.c", into: scratch.path))
        let batch = try Batch(sources: [[3, 4, 5, 6]], info: model.info)
        let plain = try model.logits(batch)
        func attach(_ mode: String) throws -> Adapter {
            let adapter = try adapter(mode, model.backbone)
            try model.session.attach(adapter)
            return adapter
        }
        let ending = try attach("others-scope")
        let error = try #require(throws: SeamError.self) { _ = try model.logits(batch) }
        #expect(error.code == .plugin && error.origin == "org.seamkit.test.wrong-points")
        #expect(error.message == "scope_end: this call has begun no scope that is open")
        try model.session.detach(ending)

        let leaving = try attach("open-scope")
        let context = model.session.makeContext(recordsGradients: false)
        let doubled = try context.contiguous(try model.session.forward(context, batch).logits).floats
        #expect(distance(doubled, plain) > 1e-6)
        #expect(bitEqual(try model.logits(batch), doubled))
        context.endScope(keeping: [])
        #expect(context.failure?.message == "scope_end: there is no open scope", "the host has closed it")
        try model.session.detach(leaving)
        #expect(bitEqual(try model.logits(batch), plain))
    }

    @Test func foldedWeightsOfAnAdapter() throws {
        let session = Session(backbone: try open())
        let plain = try logits(session)
        for (mode, code, words) in [
            ("null-output", .plugin, "returned NULL for folded_weight of \"decoder.0.k\""),
            ("other-shape", .plugin, "must give folded_weight of \"decoder.0.k\" as f32 [8, 8], found f32 [1, 8]"),
            ("a-bias", .plugin, "gives a bias to \"decoder.0.k\", which has none"),
            ("failure", .numeric, "it does not want to"),
        ] as [(String, ErrorCode, String)] {
            let adapter = try adapter(mode, session.backbone)
            try session.attach(adapter)
            let error = try #require(throws: SeamError.self, "\(mode)") { try session.merge(adapter) }
            #expect(error.code == code && error.origin == "org.seamkit.test.wrong-points", "\(mode)")
            #expect(error.message.contains(words), "\(error.message)")
            #expect(!session.isMerged(adapter))
            try session.detach(adapter)
        }
        #expect(bitEqual(try logits(session), plain))
    }

    // MARK: Points that a backbone lists

    /// Checks a point as a backbone lists it: of a decoder with two layers of width 8.
    private func point(_ change: (inout seam_point) -> Void) throws -> Point {
        try "projection".withCString { seam in
            try "q".withCString { name in
                var raw = seam_point()
                raw.struct_size = UInt32(MemoryLayout<seam_point>.size)
                raw.stack = Int32(SEAM_STACK_DECODER)
                (raw.seam, raw.name) = (seam, name)
                (raw.input_width, raw.output_width, raw.weight_parameter) = (8, 12, text("p3"))
                change(&raw)
                return try Point(&raw, layers: (encoder: 0, decoder: 2), dModel: 8, origin: "org.example.test")
            }
        }
    }

    private func text(_ value: StaticString) -> UnsafePointer<CChar> {
        UnsafeRawPointer(value.utf8Start).assumingMemoryBound(to: CChar.self)
    }

    @Test func wrongPointsAreRefused() throws {
        let good = try point { _ in }
        #expect(
            good.path == "decoder.0.q" && good.weightParameter == "p3" && good.biasParameter == nil
                && !good.isTransposed)
        let names = [UnsafePointer<CChar>?](arrayLiteral: text("k"), text("v"), text("k"))
        let widths: [Int64] = [4, 8, 4]
        try names.withUnsafeBufferPointer { names in
            try widths.withUnsafeBufferPointer { widths in
                func parts(_ raw: inout seam_point, _ count: Int) {
                    (raw.part_names, raw.part_widths, raw.part_count) = (names.baseAddress, widths.baseAddress, count)
                }
                let fused = try point { parts(&$0, 2) }
                #expect(fused.parts.map(\.width) == [4, 8])
                let wrong: [(String, (inout seam_point) -> Void)] = [
                    ("struct_size of a point of the backbone must be at least 96, found 95", { $0.struct_size = 95 }),
                    ("in the unknown stack 2", { $0.stack = 2 }),
                    (
                        "is of the seam \"encoder.output\": it must be layer.output, projection or prompt.embedding",
                        { $0.seam = self.text("encoder.output") }
                    ),
                    ("the seam of a point must not be empty", { $0.seam = nil }),
                    ("the name of a point must not be empty", { $0.name = nil }),
                    ("the name of a point must have 1 to 100 characters", { $0.name = self.text("Q") }),
                    ("is in layer 2, and the decoder has 2", { $0.layer = 2 }), ("is in layer -1", { $0.layer = -1 }),
                    ("is in layer 0, and the encoder has 0", { $0.stack = 0 }),
                    ("has the widths 0 and 12", { $0.input_width = 0 }),
                    ("has the widths 8 and \(Int64.max), which must be 1 ... 1048576", { $0.output_width = .max }),
                    (
                        "weight_parameter of the point \"decoder.0.q\" must not be empty",
                        { $0.weight_parameter = self.text("") }
                    ),
                    (
                        "bias_parameter of the point \"decoder.0.q\" must have 1 to 100",
                        { $0.bias_parameter = self.text("a/b") }
                    ),
                    (
                        "is a whole layer and must have the name \"\", found \"q\"",
                        { $0.seam = self.text("layer.output") }
                    ),
                    (
                        "is a whole layer and must have the widths of d_model, 8, found 8 and 12",
                        { ($0.seam, $0.name) = (self.text("layer.output"), nil) }
                    ),
                    ("must have part_widths and two or more parts, found 1", { parts(&$0, 1) }),
                    (
                        "must have part_widths",
                        {
                            parts(&$0, 2)
                            $0.part_widths = nil
                        }
                    ),
                    ("the part \"k\" is declared twice", { parts(&$0, 3) }),
                    (
                        "has parts of [4, 8] together, and its output has 13",
                        {
                            parts(&$0, 2)
                            $0.output_width = 13
                        }
                    ),
                    ("the number of parts of the point \"decoder.0.q\" must be at most 1000", { parts(&$0, -1) }),
                ]
                for (words, change) in wrong { expectError(.plugin, words) { try point(change) } }
            }
        }
    }

    @Test func parametersOfAPoint() throws {
        let context = Context(pool: runtime.pool, recordsGradients: false)
        let parameters = ParameterSet(
            try [[12, 8], [8, 12], [12]].enumerated().map { index, shape in
                .init(name: "p\(index)", isFrozen: false, tensor: try context.makeTensor(Shape(shape)))
            })
        let names = [text("p0"), text("p1"), text("p2")]
        try point {
            $0.weight_parameter = names[0]
            $0.bias_parameter = names[2]
        }.check(parameters, origin: "")
        try point {
            $0.weight_parameter = names[1]
            $0.is_transposed = 1
        }.check(parameters, origin: "")
        try point { $0.weight_parameter = nil }.check(parameters, origin: "")
        for (words, change) in [
            ("names the parameter \"p1\" as its matrix, [12, 8]: found [8, 12]", { $0.weight_parameter = names[1] }),
            (
                "names the parameter \"p0\" as its matrix, [8, 12]: found [12, 8]",
                { ($0.weight_parameter, $0.is_transposed) = (names[0], 1) }
            ),
            ("names the parameter \"p3\" as its matrix, [12, 8]: found no such parameter", { _ in }),
            (
                "names the parameter \"p0\" as its bias, [12]",
                { ($0.weight_parameter, $0.bias_parameter) = (names[0], names[0]) }
            ),
        ] as [(String, (inout seam_point) -> Void)] {
            expectError(.plugin, words) { try point(change).check(parameters, origin: "") }
        }
    }
}
