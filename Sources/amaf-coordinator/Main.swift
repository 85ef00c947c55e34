import ArgumentParser
import CoordinatorService
import Dispatch
import Foundation
import Logging
import Primitives
import Telemetry

@main struct CoordinatorProgram: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf-coordinator", abstract: "The head of a cluster: shards data sets, schedules stage tasks, keeps results.",
        version: AMAFVersion.current, subcommands: [Serve.self])
}

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve a store until stopped (SIGTERM, SIGINT). A restart on the same store goes on where it was.",
        discussion: "Exit codes: 0 stopped, 1 cannot serve, 64 wrong use.")

    @Option(help: "Folder of the store: one head at a time, on a local disk.")
    var store: String = ".amaf/store"
    @Option(help: "Address of the control door.")
    var control: String = "tcp://127.0.0.1:7700"
    @Option(help: "Address of the artifact door.")
    var artifacts: String = "tcp://127.0.0.1:7701"
    @Option(help: "File with the cluster's join key; by default the environment variable AMAF_JOIN_KEY.")
    var joinKeyFile: String?
    @Option(help: "defaults.yaml with the scheduler's knobs.")
    var defaults: String?
    @Flag(help: "Allow plain tcp on an address that other machines reach.")
    var insecure = false
    @Option(help: "Log level: trace, debug, info, notice, warning, error or critical.")
    var logLevel: String = "info"

    func run() throws {
        do {
            LogBootstrap.start(level: try LogBootstrap.level(named: logLevel))
            let key = try CoordinatorConfiguration.joinKey(file: joinKeyFile)
            var configuration = CoordinatorConfiguration(
                storeFolder: store, control: control, artifacts: artifacts, joinKey: key, insecure: insecure)
            if let defaults { try configuration.takeSettings(from: defaults) }
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
