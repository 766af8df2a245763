import ArgumentParser
import Engine
import Files
import SeamHost
import Support

struct CallCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "call",
        abstract: "Call a method of a saved adapter, such as the learned shift of RepCali.",
        discussion: """
            Example: seam call --model model run/adapter shift

            seam describe ADAPTER lists the methods and their signatures.
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Argument(help: "Folder of the saved adapter, or of several: the one that has the method is called.")
    var adapter: String

    @Argument(help: "Name of the method.")
    var method: String

    @Argument(help: "Its arguments: numbers and texts.")
    var arguments: [String] = []

    @OptionGroup var common: CommonOptions

    func run() throws {
        let backbone = try model.openBackbone(try common.makeRuntime())
        let loaded = try AdapterFolder.load(try folder(backbone.runtime), backbone: backbone)
        let expected = loaded.factory.methods.first { $0.name == method }?.arguments ?? []
        let values = try arguments.enumerated().map { index, text in
            try Self.value(text, index < expected.count ? expected[index] : .string, position: index + 1)
        }
        switch try loaded.call(method, values) {
        case .void: break
        case .int(let number): print(number)
        case .double(let number): print(number)
        case .string(let text): print(text)
        case .tensor(let tensor):
            let context = Context(pool: backbone.runtime.pool, recordsGradients: false)
            let numbers =
                tensor.dtype == .i32
                ? tensor.integers.map(Double.init) : try context.cast(tensor, to: .f32).floats.map(Double.init)
            let json: JSON = [
                "shape": .array(tensor.shape.map { .int(Int64($0)) }), "values": .array(numbers.map { .double($0) }),
            ]
            print(try json.serialized())
        }
    }

    /// The folder of the one adapter that has the method.
    private func folder(_ runtime: Runtime) throws -> String {
        let folders = try AdapterFolder.folders(in: adapter)
        guard folders.count > 1 else { return folders[0] }
        let owners = try folders.filter { path in
            let id = try AdapterFolder.readConfig(path).adapterID
            return try runtime.adapterFactory(id).methods.contains { $0.name == method }
        }
        guard owners.count == 1 else {
            let names = (owners.isEmpty ? folders : owners).map { FileSystem.baseName($0) }.joined(separator: ", ")
            throw SeamError(
                owners.isEmpty ? .notFound : .invalidArgument,
                owners.isEmpty
                    ? "none of the adapters in \"\(adapter)\" (\(names)) has a method \"\(method)\""
                    : "several adapters in \"\(adapter)\" have a method \"\(method)\": give the folder of one, \(names)"
            )
        }
        return owners[0]
    }

    private static func value(_ text: String, _ type: Method.ValueType, position: Int) throws -> Method.Value {
        switch type {
        case .int:
            guard let number = Int64(text) else {
                throw SeamError(.invalidArgument, "argument \(position) must be an integer, found \"\(text)\"")
            }
            return .int(number)
        case .double:
            guard let number = Double(text) else {
                throw SeamError(.invalidArgument, "argument \(position) must be a number, found \"\(text)\"")
            }
            return .double(number)
        case .tensor:
            throw SeamError(
                .unsupported,
                "argument \(position) is a tensor, which the command line cannot give; call it from C or Python")
        case .string, .void: return .string(text)
        }
    }
}
