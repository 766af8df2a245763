/// The methods of PEFT whose folders are read and written.
enum PEFTMethod: String, CaseIterable {
    case prefixTuning = "PREFIX_TUNING"
    case cartridge = "CARTRIDGE"
    case promptTuning = "PROMPT_TUNING"
    case pTuning = "P_TUNING"
    case lora = "LORA"
    case ia3 = "IA3"

    /// The method as sentences name it.
    var name: String {
        switch self {
        case .prefixTuning: "prefix tuning"
        case .cartridge: "cartridges"
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
        case .cartridge: "cartridge"
        case .promptTuning, .pTuning: "prompt-tuning"
        case .lora: "lora"
        case .ia3: "ia3"
        }
    }

    /// What was trained, as sentences name it.
    var product: String {
        switch self {
        case .prefixTuning: "prefix"
        case .cartridge: "cartridge"
        case .promptTuning, .pTuning: "prompt"
        case .lora: "LoRA adapter"
        case .ia3: "IA3 adapter"
        }
    }

    /// Whether it puts keys and values before a text.
    var isPrefix: Bool { self == .prefixTuning || self == .cartridge }
}
