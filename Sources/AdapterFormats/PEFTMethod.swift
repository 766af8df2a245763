/// The methods of PEFT whose folders are read and written.
enum PEFTMethod: String, CaseIterable {
    case prefixTuning = "PREFIX_TUNING"
    case promptTuning = "PROMPT_TUNING"
    case pTuning = "P_TUNING"
    case lora = "LORA"
    case ia3 = "IA3"

    /// The method as sentences name it.
    var name: String {
        switch self {
        case .prefixTuning: "prefix tuning"
        case .promptTuning: "prompt tuning"
        case .pTuning: "P-tuning"
        case .lora: "LoRA"
        case .ia3: "IA3"
        }
    }

    /// The adapter that a folder of it becomes. The exchange is between two methods, so it names both sides of each.
    var adapter: String {
        switch self {
        case .prefixTuning: "prefix-tuning"
        case .promptTuning, .pTuning: "prompt-tuning"
        case .lora: "lora"
        case .ia3: "ia3"
        }
    }

    /// What was trained, as sentences name it.
    var product: String {
        switch self {
        case .prefixTuning: "prefix"
        case .promptTuning, .pTuning: "prompt"
        case .lora: "LoRA adapter"
        case .ia3: "IA3 adapter"
        }
    }

    /// Whether it puts something before a text, and is one tensor; else it sits on the projections of the layers.
    var isBeforeText: Bool {
        switch self {
        case .prefixTuning, .promptTuning, .pTuning: true
        case .lora, .ia3: false
        }
    }
}
