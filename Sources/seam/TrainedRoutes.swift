import SeamHost
import Support
import Trainer

/// The adapters of one route that are to be trained, as `seam train` is told of them.
struct TrainedRoute {
    /// Nil: the default route.
    let route: String?
    /// Folders of saved adapters that are trained further.
    var initial: [String] = []
    /// New adapters behind them: ids joined by "+".
    var composition: String?
    /// Options of the new adapters, as NAME=VALUE or ADAPTER.NAME=VALUE.
    var settings: [String] = []

    /// Reads what is said of each route, in the order in which routes are named.
    /// - Parameters:
    ///   - adapters: COMPOSITION or ROUTE=COMPOSITION.
    ///   - initial: FOLDER or ROUTE=FOLDER.
    ///   - settings: NAME=VALUE, of the adapters of all routes, or ROUTE/NAME=VALUE.
    /// - Throws: `.invalidArgument` for a route that --adapter names twice, and a setting of one that is not named.
    static func read(adapters: [String], initial: [String], settings: [String]) throws -> [TrainedRoute] {
        var found: [TrainedRoute] = []
        func place(_ route: String?) -> Int {
            if let place = found.firstIndex(where: { $0.route == route }) { return place }
            found.append(TrainedRoute(route: route))
            return found.count - 1
        }
        for given in initial {
            let (route, path) = RoutedAdapterOptions.part(given)
            found[place(route)].initial.append(path)
        }
        for given in adapters {
            let (route, composition) = RoutedAdapterOptions.part(given)
            let place = place(route)
            if let other = found[place].composition {
                throw SeamError(
                    .invalidArgument,
                    "--adapter is given twice for \(route.map { "route \"\($0)\"" } ?? "the default route"), \(other) and \(composition): join the names with +"
                )
            }
            found[place].composition = composition
        }
        // Settings without a route are for all that make new adapters; without any, the first one refuses them.
        let making = found.indices.filter { found[$0].composition != nil }
        for setting in settings {
            let name = setting.prefix { $0 != "=" }
            guard let slash = name.firstIndex(of: "/") else {
                for index in making.isEmpty ? [0] : making { found[index].settings.append(setting) }
                continue
            }
            let route = String(name[..<slash])
            guard let place = found.firstIndex(where: { $0.route == route }) else {
                throw SeamError(
                    .invalidArgument,
                    "--option \(setting): no --adapter is for route \"\(route)\"")
            }
            found[place].settings.append(String(setting[setting.index(after: slash)...]))
        }
        return found
    }

    /// Attaches the saved adapters to a session.
    func attachInitial(to session: Session) throws {
        for path in initial {
            try session.attach(all: try AdapterFolder.loadAll(path, backbone: session.backbone), route: route)
        }
    }

    /// Makes the new adapters and attaches them.
    /// - Parameter classes: of a classification, whose head is added where the route has none; 0: none.
    /// - Throws: what an adapter cannot be made of, with the name of the route.
    func attachNew(to session: Session, backboneFrozen: Bool, classes: Int, seed: UInt64) throws {
        let hasHead = session.adapters(of: route).contains { $0.classes > 0 }
        do {
            try AdapterComposition(
                parsing: composition ?? "none", options: settings,
                defaultHead: classes > 0 && !hasHead ? DefaultPlugins.classificationHead : nil, in: session.runtime
            ).attach(to: session, route: route, backboneFrozen: backboneFrozen, classes: classes, seed: seed)
        } catch let error as SeamError {
            guard let route else { throw error }
            throw SeamError(error.code, "route \"\(route)\": \(error.message)", origin: error.origin)
        }
    }
}
