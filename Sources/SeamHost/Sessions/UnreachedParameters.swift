import Engine
import Support

extension Session {
    /// Warns in the log of trained parameters that the loss did not reach, such as one that a plugin declares and never
    /// reads: they would be saved as trained, and are what they were.
    ///
    /// Called after the backward pass of a first step. It is no error: a route that none of these examples took is reached
    /// by others.
    /// - Parameter step: "step 1", for the sentence.
    public static func warnOfUnreached(_ adapters: [Adapter], backbone: Backbone? = nil, in step: String) {
        for adapter in adapters {
            warn("adapter \"\(adapter.factory.id)\"", adapter.parameters, step, adapter.runtime)
        }
        if let backbone { warn(backbone.name, backbone.parameters, step, backbone.runtime) }
    }

    /// Throws `.invalidArgument` for a loss from which no gradient can flow to a trained parameter.
    /// - Parameter what: "the loss of step 1", for the sentence.
    public static func requireReached(_ adapters: [Adapter], by loss: Tensor, _ what: String) throws {
        guard !loss.requiresGradient else { return }
        let names = adapters.map { "adapter \"\($0.factory.id)\"" }.joined(separator: ", ")
        throw SeamError(
            .invalidArgument, "\(what) reaches no trained parameter of \(names): a training would change nothing")
    }

    private static func warn(_ owner: String, _ parameters: ParameterSet, _ step: String, _ runtime: Runtime) {
        let names = parameters.variables.filter { $0.tensor.gradient?.value == nil }.map { "\"\($0.name)\"" }
        guard !names.isEmpty else { return }
        runtime.log?(
            .warning,
            "\(owner): the loss of \(step) does not reach the trained parameter\(names.count > 1 ? "s" : "") \(listed(names, ", ")), which \(names.count > 1 ? "are" : "is") not updated"
        )
    }
}

/// All of a few items, the first and the number of many: a sentence must stay one.
func listed(_ items: [String], _ separator: String) -> String {
    let shown = items.prefix(10).joined(separator: separator)
    return items.count > 10 ? "\(shown)\(separator)and \(items.count - 10) more" : shown
}
