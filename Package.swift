// swift-tools-version: 6.2
// The rooms of AMAF and the arrows between them: a room may use only rooms above it in this file.
//
// `AMAF_ROOM=Scheduling swift test` builds and tests that room with what it needs, nothing else.
import Foundation
import PackageDescription

/// A system library or one of our own targets.
struct Room {
    enum Kind { case system(pkgConfig: String?, apt: String), c, library, executable, test, outsideTest }
    var name: String
    var kind: Kind
    var rooms: [String]
    var packages: [String]
    /// Rooms that own a C door work with pointers; all others are checked to be free of unsafe code.
    var ownsCDoor: Bool
}

func system(_ name: String, pkgConfig: String? = nil, apt: String) -> Room {
    Room(name: name, kind: .system(pkgConfig: pkgConfig, apt: apt), rooms: [], packages: [], ownsCDoor: true)
}
func room(_ name: String, _ rooms: [String] = [], packages: [String] = [], ownsCDoor: Bool = false) -> Room {
    Room(name: name, kind: .library, rooms: rooms, packages: packages, ownsCDoor: ownsCDoor)
}
func tool(_ name: String, _ rooms: [String], packages: [String] = []) -> Room {
    Room(name: name, kind: .executable, rooms: rooms, packages: packages, ownsCDoor: true)
}
func tests(_ name: String, _ rooms: [String], packages: [String] = []) -> Room {
    Room(name: name, kind: .test, rooms: rooms, packages: packages, ownsCDoor: true)
}

let rooms: [Room] = [
    // Doors to C, nothing else in them.
    system("CNNG", apt: "libnng-dev"),
    system("COpenBLAS", pkgConfig: "openblas", apt: "libopenblas-dev"),
    system("CPCRE2", pkgConfig: "libpcre2-8", apt: "libpcre2-dev"),
    system("CCrypto", pkgConfig: "libcrypto", apt: "libssl-dev"),
    system("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
    system("CTurboJPEG", pkgConfig: "libturbojpeg", apt: "libturbojpeg0-dev"),
    system("CPNG", pkgConfig: "libpng16", apt: "libpng-dev"),
    Room(name: "CImageCodecs", kind: .c, rooms: ["CPNG"], packages: [], ownsCDoor: true),
    Room(name: "CKernels", kind: .c, rooms: [], packages: [], ownsCDoor: true),

    // Vocabulary and mathematics.
    room("Primitives", ["CCrypto"], ownsCDoor: true),
    room("Kernels", ["Primitives", "CKernels", "COpenBLAS"], ownsCDoor: true),
    room("Datasets", ["Primitives", "CZlib", "CTurboJPEG", "CImageCodecs"], ownsCDoor: true),
    room("NeuralNetworks", ["Primitives", "Kernels"], ownsCDoor: true),
    room("Models", ["Primitives", "Kernels", "NeuralNetworks", "Datasets"], ownsCDoor: true),
    room("WeakSupervision", ["Primitives", "Kernels", "Datasets", "CPCRE2", "CZlib"], ownsCDoor: true),
    room("ActiveLearning", ["Primitives"]),
    room("Aggregation", ["Primitives"]),
    room("Evaluation", ["Primitives"]),
    room("Augmentation", ["Primitives", "Kernels", "Evaluation"]),

    // The cluster: a pure core first, then the shells.
    room("Scheduling", ["Primitives"], packages: ["OrderedCollections", "DequeModule"]),
    room("WireProtocol", ["Primitives", "Scheduling"], packages: ["SwiftProtobuf"]),
    room("Storage", ["Primitives", "Scheduling"], packages: ["GRDB", "GRDBSQLite"], ownsCDoor: true),
    room("Manifests", ["Primitives", "Scheduling", "Datasets", "WeakSupervision", "ActiveLearning"], packages: ["Yams"]),
    room("Telemetry", ["Primitives"], packages: ["Logging"], ownsCDoor: true),
    room("Messaging", ["Primitives", "Scheduling", "WireProtocol", "Telemetry", "CNNG", "CCrypto"], ownsCDoor: true),
    room("Integrations", ["Primitives", "Datasets"], ownsCDoor: true),
    room(
        "Stages",
        [
            "Primitives", "Kernels", "Datasets", "NeuralNetworks", "Models", "WeakSupervision", "ActiveLearning", "Aggregation",
            "Evaluation",
            "Augmentation", "Scheduling", "Manifests",
        ],
        ownsCDoor: true),
    room(
        "CoordinatorService",
        [
            "Primitives", "Scheduling", "WireProtocol", "Storage", "Manifests", "Messaging", "Telemetry", "WeakSupervision", "Datasets",
            "Stages",
        ],
        packages: ["Logging"], ownsCDoor: true),
    room(
        "WorkerService", ["Primitives", "Scheduling", "WireProtocol", "Messaging", "Telemetry", "Stages"],
        packages: ["Logging"], ownsCDoor: true),
    room(
        "ProgramOptions", ["Primitives", "Scheduling", "WireProtocol", "Manifests", "Messaging"], packages: ["ArgumentParser"],
        ownsCDoor: true),
    room("SimulationKit", ["Primitives", "Scheduling", "WireProtocol", "Storage"], packages: ["OrderedCollections"]),

    // Programs: parse, build, run.
    tool(
        "amaf",
        [
            "Primitives", "Datasets", "Manifests", "Stages", "WeakSupervision", "Scheduling", "WireProtocol", "Messaging", "Telemetry",
            "Storage",
            "Integrations", "CoordinatorService", "Evaluation", "ActiveLearning", "Aggregation", "Augmentation", "ProgramOptions",
            "Kernels",
            "NeuralNetworks", "Models",
        ], packages: ["ArgumentParser", "Logging"]),
    tool(
        "amaf-coordinator", ["Primitives", "Storage", "Manifests", "Telemetry", "CoordinatorService", "ProgramOptions"],
        packages: ["ArgumentParser", "Logging"]),
    tool(
        "amaf-worker", ["Primitives", "Manifests", "Scheduling", "Telemetry", "WorkerService", "ProgramOptions"],
        packages: ["ArgumentParser", "Logging"]),
    tool("amaf-simulator", ["Primitives", "SimulationKit"], packages: ["ArgumentParser"]),
    tool(
        "amaf-benchmarks",
        [
            "Primitives", "Datasets", "Models", "Scheduling", "Storage", "Telemetry", "WireProtocol", "Messaging", "Stages",
            "CoordinatorService", "WorkerService",
        ],
        packages: ["ArgumentParser", "Logging"]),

    // Tests mirror the rooms.
    tests("PrimitivesTests", ["Primitives"]),
    tests("KernelsTests", ["Primitives", "Kernels"]),
    tests("DatasetsTests", ["Primitives", "Datasets", "CZlib", "CTurboJPEG"]),
    tests("NeuralNetworksTests", ["Primitives", "Kernels", "NeuralNetworks"]),
    tests("ModelsTests", ["Primitives", "Kernels", "NeuralNetworks", "Models", "Datasets"]),
    tests("WeakSupervisionTests", ["Primitives", "Kernels", "Datasets", "WeakSupervision"]),
    tests("ActiveLearningTests", ["Primitives", "Kernels", "Models", "ActiveLearning"]),
    tests("AggregationTests", ["Primitives", "Aggregation"]),
    tests("EvaluationTests", ["Primitives", "Evaluation"]),
    tests("AugmentationTests", ["Primitives", "Kernels", "Datasets", "Evaluation", "Augmentation"]),
    tests("SchedulingTests", ["Primitives", "Scheduling"]),
    tests("SimulationTests", ["Primitives", "Scheduling", "Storage", "SimulationKit"]),
    tests("WireProtocolTests", ["Primitives", "Scheduling", "WireProtocol"]),
    // The tests look into the store's file, and damage it, with a connection of their own.
    tests("StorageTests", ["Primitives", "Scheduling", "Storage"], packages: ["GRDB"]),
    tests("TelemetryTests", ["Primitives", "Telemetry"], packages: ["Logging"]),
    tests("ManifestsTests", ["Primitives", "Datasets", "WeakSupervision", "ActiveLearning", "Scheduling", "Manifests"]),
    tests("IntegrationsTests", ["Primitives", "Datasets", "Integrations"]),
    tests("MessagingTests", ["Primitives", "WireProtocol", "Messaging"]),
    tests("WorkerServiceTests", ["Primitives", "WorkerService"]),
    tests(
        "StagesTests",
        [
            "Primitives", "Kernels", "Datasets", "NeuralNetworks", "Models", "WeakSupervision", "Augmentation", "Scheduling", "Manifests",
            "Stages",
        ]),
    tests("ProcessTests", ["Primitives", "Kernels", "Datasets", "NeuralNetworks", "Models"]),
    // Sees what another package sees: public declarations and no others.
    Room(name: "OutsideTests", kind: .outsideTest, rooms: ["Datasets", "WeakSupervision"], packages: [], ownsCDoor: true),
]

/// Where each library product comes from; why we depend on it is one line each in docs/design/0002-dependencies.md.
let products: [String: (package: String, url: String, from: Version)] = [
    "OrderedCollections": ("swift-collections", "https://github.com/apple/swift-collections", "1.6.0"),
    "DequeModule": ("swift-collections", "https://github.com/apple/swift-collections", "1.6.0"),
    "SwiftProtobuf": ("swift-protobuf", "https://github.com/apple/swift-protobuf", "1.39.0"),
    "GRDB": ("GRDB.swift", "https://github.com/groue/GRDB.swift", "7.10.0"),
    // The C interface of the same SQLite.
    "GRDBSQLite": ("GRDB.swift", "https://github.com/groue/GRDB.swift", "7.10.0"),
    "Yams": ("Yams", "https://github.com/jpsim/Yams", "6.2.2"),
    "Logging": ("swift-log", "https://github.com/apple/swift-log", "1.16.2"),
    "ArgumentParser": ("swift-argument-parser", "https://github.com/apple/swift-argument-parser", "1.8.2"),
]

/// The rooms asked for by AMAF_ROOM (comma separated) with their tests and everything below them; all rooms by default.
func selected() -> [Room] {
    guard let wanted = ProcessInfo.processInfo.environment["AMAF_ROOM"], !wanted.isEmpty else { return rooms }
    let byName = Dictionary(uniqueKeysWithValues: rooms.map { ($0.name, $0) })
    var kept: Set<String> = []
    func keep(_ name: String) {
        guard let room = byName[name], kept.insert(name).inserted else { return }
        room.rooms.forEach(keep)
    }
    for name in wanted.split(separator: ",").map(String.init) {
        keep(name)
        keep(name + "Tests")
    }
    return rooms.filter { kept.contains($0.name) }
}

func target(_ room: Room) -> Target {
    var settings: [SwiftSetting] = [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
    ]
    if !room.ownsCDoor { settings.append(.strictMemorySafety()) }
    let dependencies: [Target.Dependency] =
        room.rooms.map { .target(name: $0) } + room.packages.map { .product(name: $0, package: products[$0]!.package) }
    switch room.kind {
    case .system(let pkgConfig, let apt):
        return .systemLibrary(name: room.name, pkgConfig: pkgConfig, providers: [.apt([apt])])
    case .c:
        return .target(name: room.name, dependencies: dependencies, cSettings: [.define("NDEBUG", .when(configuration: .release))])
    case .library:
        // The schema beside its generated code is no source of the build.
        let schema = room.name == "WireProtocol" ? ["Schema"] : []
        return .target(name: room.name, dependencies: dependencies, exclude: schema, swiftSettings: settings)
    case .executable:
        // The benchmarks count fsyncs by standing in for the C library's: shared libraries must find those two symbols.
        let exported = ["fsync", "fdatasync"].flatMap { ["-Xlinker", "--export-dynamic-symbol=\($0)"] }
        let linking: [LinkerSetting] = room.name == "amaf-benchmarks" ? [.unsafeFlags(exported)] : []
        return .executableTarget(name: room.name, dependencies: dependencies, swiftSettings: settings, linkerSettings: linking)
    case .test:
        let data =
            ["SimulationTests": ["failing-seeds.txt"], "StorageTests": ["Fixtures"], "WeakSupervisionTests": ["Generators", "Golden"]][
                room.name] ?? []
        return .testTarget(name: room.name, dependencies: dependencies, exclude: data, swiftSettings: settings)
    case .outsideTest:
        return .testTarget(name: room.name, dependencies: dependencies, packageAccess: false, swiftSettings: settings)
    }
}

let kept = selected()
let needed = Set(kept.flatMap(\.packages).map { products[$0]!.url })
let package = Package(
    name: "amaf",
    // For labeling functions written in other packages; everything else is reached through the programs.
    products: kept.contains { $0.name == "WeakSupervision" }
        ? [.library(name: "LabelingFunctions", targets: ["WeakSupervision", "Datasets"])] : [],
    dependencies: Dictionary(products.values.map { ($0.url, $0.from) }, uniquingKeysWith: { first, _ in first })
        .filter { needed.contains($0.key) }.sorted { $0.key < $1.key }.map { .package(url: $0.key, from: $0.value) },
    targets: kept.map(target),
    swiftLanguageModes: [.v6]
)
