import SeamPlugin

/// The non-linearity of a feed-forward network.
enum Activation {
    case relu, gelu, geluTanh, silu

    /// By its name in config.json; `key` is where it stands.
    init(named name: Text, key: StaticString) throws(PluginError) {
        switch name {
        case "relu": self = .relu
        case "gelu", "gelu_python": self = .gelu
        case "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh": self = .geluTanh
        case "silu", "swish": self = .silu
        default:
            throw PluginError(
                .unsupported,
                "config.json: '\(key)' asks for the activation '\(name)'; expected relu, gelu, gelu_new or silu")
        }
    }

    func callAsFunction(_ x: Tensor) -> Tensor {
        switch self {
        case .relu: x.relu()
        case .gelu: x.gelu()
        case .geluTanh: x.geluTanh()
        case .silu: x.silu()
        }
    }
}
