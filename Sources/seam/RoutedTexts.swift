import ArgumentParser
import Files
import SeamHost
import Support
import Tokenizers

/// Saved adapters to attach, some of them to routes of their own.
struct RoutedAdapterOptions: ParsableArguments {
    @Option(
        name: .customLong("adapter"),
        help: """
            Folder of a saved adapter, or of several that were trained together, for all texts; or NAME=FOLDER, for those \
            that take the route NAME. Repeat for more; those of one route run in the order given. None: the model alone.
            """)
    var adapters: [String] = []

    /// The route and the folder of each adapter; nil: the default route. A folder that is there may have any name.
    var parts: [(route: String?, path: String)] {
        adapters.map { given in
            let parts = given.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, !parts[0].contains("/"), !FileSystem.exists(given) else {
                return (nil, given)
            }
            return (String(parts[0]), String(parts[1]))
        }
    }

    func attach(to session: Session) throws {
        for (route, path) in parts {
            try session.attach(all: try AdapterFolder.loadAll(path, backbone: session.backbone), route: route)
        }
    }
}

/// Texts, and the route that each of them takes.
struct RoutedTexts {
    let texts: [String]
    /// Empty: all of the default one.
    let routes: [String?]
    /// Where a text comes from, for error sentences.
    let place: (Int) -> String

    /// Texts that all take one route.
    init(_ given: GivenTexts, route: String?, in session: Session) throws {
        try session.requireRoute(route)
        texts = given.texts
        routes = route == nil ? [] : [String?](repeating: route, count: given.texts.count)
        place = given.place
    }

    /// The texts of a file, with the route of each in a column "route", where there is one; empty or null is the default
    /// one.
    /// - Throws: as `Table.read`, and with the line for a route that the session does not have.
    init(file path: String, in session: Session) throws {
        let table = try Table.read(path)
        let place = { (index: Int) in "\(table.name), line \(table.lines[index])" }
        self.place = place
        texts = try table.strings("source")
        guard table.columns.contains("route") else {
            routes = []
            return
        }
        routes = try table.values("route").enumerated().map { index, cell in
            guard let name = cell == .null ? "" : cell.stringValue else {
                throw SeamError(.format, "\(place(index)): \"route\" must be a string, found \(cell.kind)")
            }
            do { try session.requireRoute(name) } catch let error as SeamError {
                throw SeamError(error.code, "\(place(index)): \(error.message)")
            }
            return name
        }
    }

    /// Their token ids, none longer than what the model reads beside the prefixes of the text's route.
    func tokens(_ tokenizer: Tokenizer, _ session: Session) throws -> [[Int32]] {
        try texts.enumerated().map { index, text in
            try GivenTexts.tokens(
                text, tokenizer, limit: session.textLimits(of: routes.isEmpty ? nil : routes[index]).source,
                place: place(index))
        }
    }
}
