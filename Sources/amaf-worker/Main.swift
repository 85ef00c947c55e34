import ArgumentParser
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Telemetry
import WireProtocol
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

    @Option(help: "The coordinator's control door, for example tcp://head:7700.")
    var coordinator: String = "tcp://127.0.0.1:7700"
    @Option(help: "The coordinator's artifact door; by default the control door's host and the next port.")
    var artifacts: String?
    @Option(help: "Comma-separated tags: cpu, gpu, or any word that a pipeline asks for.")
    var tags: String = "cpu"
    @Option(help: "Leases worked on at once; each has its own process.")
    var slots: Int = 1
    @Option(help: "The worker's own folder: cache and logs.")
    var root: String = ".amaf-worker"
    @Option(help: "A name that stays the same over restarts; by default host name and process id.")
    var id: String?
    @Option(help: "File with the cluster's join key.")
    var joinKeyFile: String?
    @Option(help: "Bytes of artifacts kept on disk.")
    var cacheBytes: Int = 4 << 30
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
    @Flag(help: "Allow plain tcp to a coordinator that is not on this machine.")
    var insecure = false
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

    private func serve() throws -> Int32 {
        guard slots >= 1 else { throw ValidationError("--slots must be at least 1") }
        var tags = tags.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        if tags.contains("gpu") && !emulateGpu {
            throw AMAFError(
                "worker.no-gpu", "This build has no GPU device, so the tag 'gpu' would be a lie",
                remedy: "Start without the tag, or with --emulate-gpu to test placement.")
        }
        if emulateGpu && !tags.contains("gpu") { tags.append("gpu") }
        if emulateGpu { tags.append("emulated-gpu") }
        let key = try JoinKey(Self.joinKeyText(file: joinKeyFile))
        let artifacts = try artifacts ?? DoorAddress.artifacts(besides: coordinator)
        let name = id ?? "\(HostProfile.name())-\(getpid())"
        let control = try ClientDoor(.control(url: coordinator, allowsInsecure: insecure))
        let bulk = try ClientDoor(.artifacts(url: artifacts, allowsInsecure: insecure))
        let connection = CoordinatorConnection(control: control, artifacts: bulk, joinKey: key, build: AMAFVersion.current)
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        let configuration = WorkerConfiguration(
            worker: WorkerID(name), root: URL(fileURLWithPath: root).path, tags: tags, slots: slots, cacheLimitBytes: cacheBytes,
            objectCacheBytes: objectCacheBytes,
            memoryBytes: HostProfile.memoryBytes(), memoryLimitPerSlotBytes: try memoryPerSlot.map { try ByteCount.parse($0) } ?? 0,
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
        logger.info("starting", metadata: ["coordinator": "\(coordinator)", "tags": "\(tags.joined(separator: ","))", "slots": "\(slots)"])
        return agent.run()
    }

    static func folder(_ path: String) throws -> String {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
            throw AMAFError("worker.no-folder", "There is no folder '\(path)'", place: "--data", remedy: "Check the path or leave it out.")
        }
        return URL(fileURLWithPath: path).path
    }

    static func joinKeyText(file: String?) throws -> String {
        if let file {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw AMAFError(
                    "worker.join-key", "The join key file cannot be read", place: file, remedy: "Check the path and its permissions.")
            }
            return text
        }
        guard let text = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else {
            throw AMAFError(
                "worker.join-key", "No join key was given", remedy: "Give --join-key-file FILE or set AMAF_JOIN_KEY, as on the coordinator."
            )
        }
        return text
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
