import ArgumentParser
import Datasets
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
    var parts: [(route: String?, path: String)] { adapters.map(Self.part) }

    /// The two sides of NAME=WHAT, which may be a folder; nil for the name where there is none.
    static func part(_ given: String) -> (route: String?, path: String) {
        let parts = given.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[0].contains("/"), !FileSystem.exists(given) else {
            return (nil, given)
        }
        return (String(parts[0]), String(parts[1]))
    }

    /// The folders of each route, routes in the order in which they are first named.
    var folders: [(route: String?, paths: [String])] {
        var found: [(route: String?, paths: [String])] = []
        for (route, path) in parts {
            if let place = found.firstIndex(where: { $0.route == route }) {
                found[place].paths.append(path)
            } else {
                found.append((route, [path]))
            }
        }
        return found
    }

    func attach(to session: Session) throws {
        for (route, path) in parts {
            try session.attach(all: try AdapterFolder.loadAll(path, backbone: session.backbone), route: route)
        }
    }

    /// Warns of adapters that were given and that no row takes.
    /// - Parameter rows: the route of each row; empty: all take the default one.
    func warnOfUntaken(by rows: [String?]) {
        let taken = Set((rows.isEmpty ? [nil] : rows).map { TextKey($0 ?? "") })
        for (route, paths) in folders where !taken.contains(TextKey(route ?? "")) {
            let name = route.map { "the route \"\($0)\"" } ?? "the default route"
            printError(
                "warning: no text takes \(name), so \(paths.joined(separator: " and ")) \(paths.count == 1 ? "does" : "do") nothing here"
            )
        }
    }
}

/// Which column of a file has the routes of its rows.
struct RouteColumnOption: ParsableArguments {
    @Option(
        help: """
            Column of the NAME of the adapters that a row takes; empty or null: those without a name. Default: route, \
            where the file has it. '' for no such column.
            """)
    var routeColumn: String?

    var column: RouteColumn {
        guard let routeColumn else { return .optional("route") }
        return routeColumn.isEmpty ? .none : .required(routeColumn)
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
        routes = try table.routes(.optional("route"))
        for (index, route) in routes.enumerated() {
            do { try session.requireRoute(route) } catch let error as SeamError {
                throw SeamError(error.code, "\(place(index)): \(error.message)")
            }
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
