// swift-tools-version: 6.2
import PackageDescription

// Plugins are Embedded Swift: small libraries that need libc and libm only (and what they name in `needs`), so that
// they load in a process on a machine without Swift. The version script hides every symbol but the entry, and `-z defs`
// makes the linker name what is missing (say, Unicode's tables) instead of the loader.
let embedded: [SwiftSetting] = [.enableExperimentalFeature("Embedded"), .unsafeFlags(["-wmo", "-Osize"])]
let pluginLinking: [LinkerSetting] = [
    .linkedLibrary("m"),
    .unsafeFlags(["-Xlinker", "--version-script=\(Context.packageDirectory)/Plugins/exports.map"]),
    .unsafeFlags(["-Xlinker", "-z", "-Xlinker", "defs", "-use-ld=lld"]),
]

/// A plugin in Plugins/NAME with its tests in Tests/NAMETests. Plugins know include/seam and the helper, and what they
/// need of the system.
func plugin(_ name: String, needs: [Target.Dependency] = []) -> [Target] {
    [
        .target(
            name: name, dependencies: ["SeamPlugin", "CSeam"] + needs, path: "Plugins/\(name)",
            swiftSettings: embedded, linkerSettings: pluginLinking),
        .testTarget(name: "\(name)Tests", dependencies: ["SeamHost", "Trainer", "FewShot", "TestSupport"]),
    ]
}

let plugins: [[Target]] = [
    plugin("RepCali"),
    plugin("DecT"),
    plugin("PrefixTuning"),
    plugin("Cartridge"),
    plugin("PromptTuning"),
    plugin("ResidualPrefix"),
    plugin("Gate", needs: ["CMath"]),
    plugin("LinearHead"),
    plugin("LoRA"),
    plugin("IA3"),
    plugin("Bias"),
    plugin("BottleneckAdapter"),
    plugin("BatchCalibration"),
    plugin("MultiPromptingDecoder"),
    plugin("ReFT"),
    plugin("ControlVector"),
    plugin("RidgeHead", needs: ["CMath"]),
    plugin("Transformer", needs: ["CMath"]),
    plugin("Remote", needs: ["CCurl", "CJansson"]),
]

let package = Package(
    name: "SeamKit",
    products: [
        .library(name: "Seam", type: .dynamic, targets: ["CAPI"]),
        .executable(name: "seam", targets: ["seam"]),
        .library(name: "SeamPlugin", targets: ["SeamPlugin"]),
    ] + plugins.map { .library(name: $0[0].name, type: .dynamic, targets: [$0[0].name]) },
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        // The contract and the system libraries.
        .systemLibrary(name: "CSeam", path: "include"),
        .systemLibrary(name: "CJansson", path: "Sources/CJansson", pkgConfig: "jansson"),
        .systemLibrary(name: "CCurl", path: "Sources/CCurl", pkgConfig: "libcurl"),
        .systemLibrary(name: "CMath", path: "Sources/CMath"),
        .systemLibrary(name: "CExit", path: "Sources/CExit"),
        .systemLibrary(name: "COnig", path: "Sources/COnig", pkgConfig: "oniguruma"),
        .systemLibrary(name: "CUTF8Proc", path: "Sources/CUTF8Proc"),
        .systemLibrary(name: "CFFI", path: "Sources/CFFI", pkgConfig: "libffi"),
        .systemLibrary(name: "CXXHash", path: "Sources/CXXHash"),
        .systemLibrary(name: "CSound", path: "Sources/CSound"),

        // The core, lowest layer first.
        .target(name: "Support", dependencies: ["CUTF8Proc"]),
        .target(name: "Platform"),
        .target(
            name: "Kernels",
            cSettings: [.unsafeFlags(["-O3", "-fno-math-errno", "-fno-trapping-math"])],
            linkerSettings: [.linkedLibrary("m")]),
        .target(name: "Engine", dependencies: ["Support", "Kernels"]),
        .target(name: "Files", dependencies: ["Support", "Platform", "CJansson", "CXXHash"]),
        .target(name: "Audio", dependencies: ["Support", "Files", "CSound"]),
        .target(name: "SentencePieceBridge", linkerSettings: [.linkedLibrary("sentencepiece")]),
        .target(name: "Tokenizers", dependencies: ["Support", "Files", "COnig", "SentencePieceBridge"]),
        .target(name: "Datasets", dependencies: ["Tokenizers", "Files", "Support"]),
        .target(name: "Metrics", dependencies: ["Support"]),
        .target(name: "Generation", dependencies: ["Support"]),
        .target(
            name: "SeamHost", dependencies: ["Support", "Engine", "Files", "Generation", "Platform", "CSeam", "CFFI"]),
        .target(name: "Plotting", dependencies: ["Support"]),
        .target(
            name: "Trainer",
            dependencies: [
                "SeamHost", "Tokenizers", "Datasets", "Metrics", "Files", "Engine", "Generation", "Plotting", "Support",
                "CSeam",
            ]),
        .target(name: "Sweeps", dependencies: ["Trainer", "SeamHost", "Files", "Plotting", "Support"]),
        .target(
            name: "FewShot",
            dependencies: [
                "SeamHost", "Tokenizers", "Datasets", "Files", "Engine", "Kernels", "Plotting", "Support", "CSeam",
            ]),
        .target(name: "AdapterFormats", dependencies: ["SeamHost", "Files", "Engine", "Support"]),
        .target(
            name: "CAPI",
            dependencies: [
                "Trainer", "FewShot", "SeamHost", "Tokenizers", "Datasets", "Audio", "Files", "Engine", "Generation",
                "Support", "CSeam",
            ],
            exclude: ["exports.map"],
            linkerSettings: [
                .unsafeFlags([
                    "-static-stdlib", "-Xlinker",
                    "--version-script=\(Context.packageDirectory)/Sources/CAPI/exports.map",
                ])
            ]),
        .executableTarget(
            name: "seam",
            dependencies: [
                "Trainer", "FewShot", "Sweeps", "AdapterFormats", "SeamHost", "Tokenizers", "Datasets", "Metrics",
                "Audio", "Files", "Engine", "Generation", "Platform", "Support",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        .target(name: "SeamPlugin", dependencies: ["CSeam", "CExit"], swiftSettings: embedded),

        .executableTarget(
            name: "ExampleTrain", dependencies: ["Trainer", "SeamHost", "Tokenizers", "Datasets", "Support"],
            path: "examples/swift"),
        .executableTarget(
            name: "ExampleVoice", dependencies: ["Audio", "Trainer", "SeamHost", "Tokenizers", "Datasets", "Support"],
            path: "examples/speech/swift"),
        .executableTarget(
            name: "border-benchmark", dependencies: ["SeamHost", "Engine", "Support", "CSeam"],
            path: "benchmarks/border"),
        .executableTarget(
            name: "continuous-benchmark", dependencies: ["SeamHost", "Support"], path: "benchmarks/continuous"),

        // Tests: one target a module; those of the plugins stand with them above.
        .target(
            name: "TestSupport", dependencies: ["SeamHost", "Tokenizers", "Files", "Engine", "Support"],
            path: "Tests/TestSupport"),
        .testTarget(name: "KernelsTests", dependencies: ["Kernels"], exclude: ["Fixtures"]),
        .testTarget(name: "FilesTests", dependencies: ["Files", "Support", "TestSupport"], exclude: ["Fixtures"]),
        .testTarget(name: "AudioTests", dependencies: ["Audio", "Files", "Support", "TestSupport"]),
        .testTarget(name: "GenerationTests", dependencies: ["Generation"], exclude: ["Fixtures"]),
        .testTarget(
            name: "TokenizersTests", dependencies: ["Tokenizers", "Files", "Support", "TestSupport"],
            exclude: ["Fixtures"]),
        .testTarget(
            name: "DatasetsTests", dependencies: ["Datasets", "Tokenizers", "Files", "Support", "TestSupport"]),
        .testTarget(name: "MetricsTests", dependencies: ["Metrics", "Support"], exclude: ["Fixtures"]),
        .testTarget(name: "EngineTests", dependencies: ["Engine", "Support", "TestSupport"]),
        .testTarget(name: "SeamHostTests", dependencies: ["SeamHost", "TestSupport"], exclude: ["Fixtures"]),
        .testTarget(name: "PlottingTests", dependencies: ["Plotting"]),
        .testTarget(name: "TrainerTests", dependencies: ["Trainer", "TestSupport"]),
        .testTarget(name: "SweepsTests", dependencies: ["Sweeps", "TestSupport"]),
        .testTarget(name: "FewShotTests", dependencies: ["FewShot", "TestSupport"], exclude: ["Fixtures"]),
        .testTarget(name: "ToolTests", dependencies: ["Files", "TestSupport"]),
    ] + plugins.flatMap { $0 },
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)

// Tests are checks of optimised code and need not be such: it halves the time in which they are compiled.
for target in package.targets where target.type == .test {
    target.swiftSettings = (target.swiftSettings ?? []) + [.unsafeFlags(["-Onone"], .when(configuration: .release))]
}

// scripts/check builds and tests one module: it names the targets that this takes, and the others are left out.
if let names = Context.environment["SEAM_TARGETS"]?.split(separator: ",").map(String.init) {
    package.targets.removeAll { !names.contains($0.name) }
    package.products.removeAll { product in
        let targets = (product as? Product.Library)?.targets ?? (product as? Product.Executable)?.targets ?? []
        return !targets.allSatisfy(names.contains)
    }
}
