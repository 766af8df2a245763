// swift-tools-version: 6.2
import PackageDescription

// Embedded Swift: the library then needs libc and libm only. The script hides every symbol but the entry.
let exports = "\(Context.packageDirectory)/../../Plugins/exports.map"

let package = Package(
    name: "Bottleneck",
    products: [.library(name: "Bottleneck", type: .dynamic, targets: ["Bottleneck"])],
    dependencies: [.package(name: "SeamKit", path: "../..")],
    targets: [
        .target(
            name: "Bottleneck", dependencies: [.product(name: "SeamPlugin", package: "SeamKit")],
            swiftSettings: [.enableExperimentalFeature("Embedded"), .unsafeFlags(["-wmo", "-Osize"])],
            linkerSettings: [
                .linkedLibrary("m"), .unsafeFlags(["-Xlinker", "--version-script=\(exports)", "-use-ld=lld"]),
            ])
    ])
