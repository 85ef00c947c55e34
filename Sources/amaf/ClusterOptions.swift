import ArgumentParser
import Foundation
import Messaging
import Primitives
import WireProtocol

/// Where the coordinator is, for commands that ask a running cluster.
struct ClusterOptions: ParsableArguments {
    @Option(help: "The coordinator's control door; by default AMAF_COORDINATOR or tcp://127.0.0.1:7700.")
    var coordinator: String?
    @Option(help: "The artifact door; by default the control door's host and the next port.")
    var artifacts: String?
    @Option(help: "File with the cluster's join key; by default the environment variable AMAF_JOIN_KEY.")
    var joinKeyFile: String?
    @Flag(help: "Allow plain tcp to a coordinator that is not on this machine.")
    var insecure = false

    func connect() throws -> CoordinatorConnection {
        let environment = ProcessInfo.processInfo.environment
        let control = coordinator ?? environment["AMAF_COORDINATOR"] ?? "tcp://127.0.0.1:7700"
        let bulk = try artifacts ?? DoorAddress.artifacts(besides: control)
        return try Operator.connect(control: control, artifacts: bulk, joinKey: try joinKey(), insecure: insecure)
    }

    func joinKey() throws -> JoinKey { try JoinKeys.load(file: joinKeyFile) }
}

enum JoinKeys {
    static func load(file: String?) throws -> JoinKey {
        if let file {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw AMAFError(
                    "cli.join-key", "The join key file cannot be read", place: file, remedy: "Check the path and its permissions.")
            }
            return try JoinKey(text)
        }
        guard let text = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else {
            throw AMAFError(
                "cli.join-key", "No join key was given", remedy: "Give --join-key-file FILE or set AMAF_JOIN_KEY, as on the coordinator.")
        }
        return try JoinKey(text)
    }
}

enum Operator {
    static func connect(control: String, artifacts: String, joinKey: JoinKey, insecure: Bool) throws -> CoordinatorConnection {
        let controlDoor = try ClientDoor(.control(url: control, allowsInsecure: insecure))
        let artifactDoor = try ClientDoor(.artifacts(url: artifacts, allowsInsecure: insecure))
        let connection = CoordinatorConnection(control: controlDoor, artifacts: artifactDoor, joinKey: joinKey, build: AMAFVersion.current)
        let name = ProcessInfo.processInfo.environment["USER"] ?? "operator"
        try connection.join(as: name, at: control)
        return connection
    }
}

extension CoordinatorConnection {
    /// As `joinAsOperator`, with an error that says what to start when nobody answers.
    func join(as name: String, at address: String) throws(AMAFError) {
        do throws(AMAFError) {
            try joinAsOperator(name: name)
        } catch {
            let silent = ["messaging.timed-out", "messaging.unreachable", "messaging.connection-lost"].contains(error.code)
            throw silent
                ? AMAFError(
                    "cli.no-coordinator", "No coordinator answers at \(address)",
                    remedy: "Start one with `amaf-coordinator serve`, or give --coordinator.") : error
        }
    }
}
