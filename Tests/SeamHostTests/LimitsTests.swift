import CSeam
import Engine
import SeamHost
import Support
import TestSupport
import Testing

/// What a backbone says of itself, and what comes with a saved adapter, within bounds that later arithmetic relies on.
@Suite struct LimitsTests {
    private func info(_ change: (inout seam_backbone_info) -> Void) throws -> BackboneInfo {
        var raw = seam_backbone_info()
        raw.struct_size = UInt32(MemoryLayout<seam_backbone_info>.size)
        (raw.d_model, raw.vocab_size, raw.kv_heads, raw.head_dim) = (8, 16, 2, 4)
        change(&raw)
        return try BackboneInfo(raw, origin: "org.example.test")
    }

    @Test func numbersOfABackbone() throws {
        #expect(try info { _ in }.dModel == 8)
        let wrong: [(String, (inout seam_backbone_info) -> Void)] = [
            ("d_model 1048577, which must be 0 ... 1048576", { $0.d_model = 1 << 20 + 1 }),
            ("d_model -1", { $0.d_model = -1 }),
            ("heads 9223372036854775807", { $0.heads = .max }), ("kv_heads", { $0.kv_heads = .max }),
            ("head_dim", { $0.head_dim = .min }), ("encoder_layers", { $0.encoder_layers = .max }),
            ("decoder_layers", { $0.decoder_layers = 1 << 20 }),
            ("max_source_positions", { $0.max_source_positions = .max }),
            ("max_target_positions", { $0.max_target_positions = -5 }), ("vocab_size", { $0.vocab_size = 1 << 31 }),
            ("source_vocab_size", { $0.source_vocab_size = .max }),
            ("the number of eos_token_ids of the backbone must be at most 1000", { $0.eos_token_count = -1 }),
            ("gives NULL for them", { $0.eos_token_count = 2 }),
            ("pad_token_id", { $0.pad_token_id = .max }), ("prefix_layers", { $0.prefix_layers.1 = .max }),
            ("max_prefix_length", { $0.max_prefix_length.2 = .max }), ("the unknown kind 7", { $0.kind = 7 }),
            ("the unknown architecture -1", { $0.architecture = -1 }),
            ("the number of seams of the backbone must be at most 1000", { $0.seam_count = -1 }),
            ("seam 0 of the backbone is NULL", { $0.seam_count = 1 }),
            ("feature_width 3 and feature_stride 0; both must be positive, or both 0", { $0.feature_width = 3 }),
            ("feature_stride -1", { ($0.feature_width, $0.feature_stride) = (3, -1) }),
            (
                "feature_width 3 and has no encoder",
                {
                    ($0.feature_width, $0.feature_stride) = (3, 1)
                    $0.architecture = Int32(SEAM_DECODER_ONLY)
                }
            ),
        ]
        for (words, change) in wrong { expectError(.plugin, words) { try info(change) } }
    }

    @Test func tokensOfAPrefixInASavedAdapter() throws {
        let model = try OpenModel()
        for length in [Int.max, -1] {
            expectError(.invalidArgument, "the tokens of a prefix must be 0 ... 1048576, found [0, \(length), 0]") {
                try Adapter(
                    backbone: model.backbone, id: "prefix-tuning", options: .null, prefixLength: [0, length, 0])
            }
        }
    }

    @Test func memoryBeyondTheMachineIsRefused() throws {
        #expect(Memory.holds(0) && Memory.holds(1 << 20) && !Memory.holds(Memory.total + 1))
        expectError(.outOfMemory, "a list needs 8000.0 GB of memory, this machine has ") {
            try Memory.require(1_000_000_000_000, 8, for: "a list")
        }
        expectError(.outOfMemory, "a list needs more than ") { try Memory.require(.max, .max, for: "a list") }
    }
}
