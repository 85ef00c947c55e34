import ArgumentParser
import Foundation
import Messaging
import Primitives
import ProgramOptions
import WireProtocol

/// Where the coordinator is, for commands that ask a running cluster.
struct ClusterOptions: ParsableArguments {
    @Option(help: "The coordinator's control door; by default AMAF_COORDINATOR or tcp://127.0.0.1:7700.")
    var coordinator: String?
    @Option(help: "The artifact door; by default the control door's host and the next port.")
    var artifacts: String?
    @OptionGroup var access: ClusterAccessOptions

    func connect() throws -> CoordinatorConnection {
        let access = try access.resolve(control: coordinator, artifacts: artifacts)
        return try Operator.connect(access)
    }
}

enum Operator {
    static func connect(_ access: ClusterAccess) throws -> CoordinatorConnection {
        let connection = try access.connection()
        let name = ProcessInfo.processInfo.environment["USER"] ?? "operator"
        try connection.join(as: name, at: access.control)
        return connection
    }
}

extension CoordinatorConnection {
    /// As `joinAsOperator`, with an error that says what to start when nobody answers.
    func join(as name: String, at address: String) throws(AMAFError) {
        do throws(AMAFError) {
            try joinAsOperator(name: name)
        } catch {
            // One that answers and refuses our certificate is there.
            if error.message.contains("handshakes failed") { throw error }
            let silent = ["messaging.timed-out", "messaging.unreachable", "messaging.connection-lost"].contains(error.code)
            throw silent
                ? AMAFError(
                    "cli.no-coordinator", "No coordinator answers at \(address)",
                    remedy: "Start one with `amaf-coordinator serve`, or give --coordinator.") : error
        }
    }
}
