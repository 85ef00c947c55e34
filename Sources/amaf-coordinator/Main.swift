import ArgumentParser
import CoordinatorService
import Dispatch
import Foundation
import Logging
import Manifests
import Primitives
import ProgramOptions
import Telemetry

@main struct CoordinatorProgram: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf-coordinator", abstract: "The head of a cluster: shards data sets, schedules stage tasks, keeps results.",
        version: AMAFVersion.current, subcommands: [Serve.self, Backup.self, Restore.self])
}

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve a store until stopped (SIGTERM, SIGINT). A restart on the same store goes on where it was.",
        discussion: "Exit codes: 0 stopped, 1 cannot serve, 64 wrong use.")

    @Option(help: "Folder of the store: one head at a time, on a local disk.")
    var store: String?
    @Option(help: "Address of the control door (default: tcp://127.0.0.1:7700).")
    var control: String?
    @Option(help: "Address of the artifact door (default: the control door's host and the next port).")
    var artifacts: String?
    @OptionGroup var access: ClusterAccessOptions
    @Option(help: "defaults.yaml with the scheduler's knobs.")
    var defaults: String?
    @Option(help: "Log level: trace, debug, info, notice, warning, error or critical.")
    var logLevel: String = "info"

    func run() throws {
        do {
            LogBootstrap.start(level: try LogBootstrap.level(named: logLevel))
            let access = try access.resolve(control: control, artifacts: artifacts)
            var configuration = CoordinatorConfiguration(
                storeFolder: store ?? access.manifest?.stateFolder ?? ".amaf/store", control: access.control, artifacts: access.artifacts,
                joinKey: access.joinKey, insecure: access.insecure, tls: access.tls)
            if let settings = access.manifest?.scheduler { configuration.settings = settings }
            if let defaults { configuration.settings = try Defaults.load(defaults).scheduler }
            let coordinator = try Coordinator(configuration, logger: Logger(label: "coordinator"))
            let stop = DispatchSemaphore(value: 0)
            let signals = SignalWatch([SIGTERM, SIGINT]) { _ in stop.signal() }
            stop.wait()
            signals.stop()
            coordinator.stop()
        } catch {
            FileHandle.standardError.write(Data("amaf-coordinator: \(error)\n".utf8))
            throw ExitCode(1)
        }
    }
}
