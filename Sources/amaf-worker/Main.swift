import ArgumentParser
import Foundation
import Logging
import Manifests
import Primitives
import ProgramOptions
import Scheduling
import Telemetry
import WorkerService

@main struct Worker: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf-worker",
        abstract: "Runs stage tasks for a coordinator: one agent on each box, one child process per slot.",
        discussion: """
            The join key is read from --join-key-file or the environment variable AMAF_JOIN_KEY. SIGTERM and SIGINT drain: running leases are \
            finished or given back, then the agent leaves. Exit codes: 0 drained, 1 cannot run here, 2 wrong use, 4 no coordinator for too long.
            """,
        version: AMAFVersion.current,
        subcommands: [Serve.self, Slot.self],
        defaultSubcommand: Serve.self)
}

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Join a coordinator and work until drained (the default).")

    @Option(help: "The coordinator's control door, for example tls+tcp://head:7700; by default AMAF_COORDINATOR or tcp://127.0.0.1:7700.")
    var coordinator: String?
    @Option(help: "The coordinator's artifact door; by default the control door's host and the next port.")
    var artifacts: String?
    @OptionGroup var access: ClusterAccessOptions
    @Option(help: "The group of workers in the file of --config that this box belongs to: tags, slots, memory, cache.")
    var group: String?
    @Option(help: "Comma-separated tags: cpu, gpu, or any word that a pipeline asks for (default: cpu).")
    var tags: String?
    @Option(help: "Leases worked on at once; each has its own process (default: 1).")
    var slots: Int?
    @Option(help: "The worker's own folder: cache and logs.")
    var root: String = ".amaf-worker"
    @Option(help: "A name that stays the same over restarts; by default host name and process id.")
    var id: String?
    @Option(help: "Artifacts kept on disk, for example 50GiB (default: 4GiB).")
    var cache: String?
    @Option(help: "Bytes of parsed inputs that one slot keeps in memory.")
    var objectCacheBytes: Int = 128 << 20
    @Option(help: "Memory that one slot may hold, for example 2GiB or 400MiB; a slot above it is ended and its batches are halved.")
    var memoryPerSlot: String?
    @Option(help: "A folder of this machine in which data sets lie under their own names; may be given several times.")
    var data: [String] = []
    @Flag(help: "Let labeling functions run programs on this machine.")
    var allowExec = false
    @Option(help: "Numerics class to report, instead of the one found here (tests of mixed clusters).")
    var numericsClass: String?
    @Flag(help: "Report the tag gpu without a device; everything says so.")
    var emulateGpu = false
    @Option(help: "Leave after so many seconds without a coordinator; by default wait for ever.")
    var orphanSeconds: Double?
    @Option(help: "Seconds that running leases get to finish after SIGTERM.")
    var drainSeconds: Double = 20
    @Option(help: "Log level: trace, debug, info, notice, warning, error or critical.")
    var logLevel: String = "info"

    mutating func run() throws {
        LogBootstrap.start(level: try LogBootstrap.level(named: logLevel))
        do {
            throw ExitCode(try serve())
        } catch let error as AMAFError {
            FileHandle.standardError.write(Data("amaf-worker: \(error)\n".utf8))
            throw ExitCode(1)
        }
    }

    /// The group of the cluster's file; its values stand where no option was given.
    private func workerGroup(_ access: ClusterAccess) throws -> ClusterManifest.WorkerGroup? {
        guard let group else { return nil }
        guard let manifest = access.manifest else {
            throw AMAFError("worker.no-config", "--group names a group of a cluster's file", remedy: "Give the file with --config.")
        }
        guard let found = manifest.workers.first(where: { $0.name == group }) else {
            let names = manifest.workers.map(\.name).joined(separator: ", ")
            throw AMAFError(
                "worker.no-group", "There is no group '\(group)' of workers; there are \(names)", place: manifest.path,
                remedy: "Give one of these.")
        }
        return found
    }

    private func serve() throws -> Int32 {
        let access = try access.resolve(control: coordinator, artifacts: artifacts)
        let group = try workerGroup(access)
        let slots = slots ?? group?.slots ?? 1
        guard slots >= 1 else { throw ValidationError("--slots must be at least 1") }
        var tags = tags.map(Self.words) ?? group?.tags ?? ["cpu"]
        if tags.contains("gpu") && !emulateGpu {
            throw AMAFError(
                "worker.no-gpu", "This build has no GPU device, so the tag 'gpu' would be a lie",
                remedy: "Start without the tag, or with --emulate-gpu to test placement.")
        }
        if emulateGpu && !tags.contains("gpu") { tags.append("gpu") }
        if emulateGpu { tags.append("emulated-gpu") }
        let cacheBytes = try cache.map { try ByteCount.parse($0) } ?? group.map { Int($0.cacheBytes) } ?? 4 << 30
        let memoryLimit = try memoryPerSlot.map { try ByteCount.parse($0) } ?? group?.memoryBytesPerSlot.map { Int($0) } ?? 0
        let connection = try access.connection()
        let name = id ?? "\(HostProfile.name())-\(getpid())"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        let configuration = WorkerConfiguration(
            worker: WorkerID(name), root: URL(fileURLWithPath: root).path, tags: tags, slots: slots, cacheLimitBytes: cacheBytes,
            objectCacheBytes: objectCacheBytes,
            memoryBytes: HostProfile.memoryBytes(), memoryLimitPerSlotBytes: memoryLimit,
            dataFolders: try data.map { try Self.folder($0) }, allowsExec: allowExec,
            numericsClass: numericsClass.map { NumericsClass($0) } ?? HostProfile.numericsClass(),
            host: HostProfile.name(), slotProgram: try ProgramPath.own(),
            orphanTimeout: orphanSeconds.map { .seconds($0) })
        var logger = Logger(label: "worker")
        logger[metadataKey: "worker"] = "\(name)"
        var generator = SystemRandomNumberGenerator()
        let agent = try WorkerAgent(configuration, connection: connection, logger: logger, bootNonce: generator.next())
        let drain = agent.drainer
        let patience = Duration.seconds(drainSeconds)
        let signals = SignalWatch([SIGTERM, SIGINT]) { _ in drain(patience) }
        defer { signals.stop() }
        logger.info(
            "starting", metadata: ["coordinator": "\(access.control)", "tags": "\(tags.joined(separator: ","))", "slots": "\(slots)"])
        return agent.run()
    }

    static func folder(_ path: String) throws -> String {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
            throw AMAFError("worker.no-folder", "There is no folder '\(path)'", place: "--data", remedy: "Check the path or leave it out.")
        }
        return URL(fileURLWithPath: path).path
    }

    static func words(_ list: String) -> [String] {
        list.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }
}

struct Slot: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One slot of an agent; started by the agent itself.", shouldDisplay: false)

    @Option var cache: String
    @Option var objectCacheBytes: Int
    @Option var memoryLimitBytes: Int = 0
    @Option var data: [String] = []

    func run() throws {
        LogBootstrap.start(level: .info)
        SlotProcess.serve(
            socket: 3, cacheFolder: cache, objectCacheBytes: objectCacheBytes, memoryLimitBytes: memoryLimitBytes, dataFolders: data)
    }
}
