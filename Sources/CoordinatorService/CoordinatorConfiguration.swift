import Foundation
import Manifests
package import Messaging
package import Primitives
package import Scheduling
package import WireProtocol

/// What a head was started with.
package struct CoordinatorConfiguration: Sendable {
    /// Folder of the store: state rows, history and artifacts. One head at a time.
    package var storeFolder: String
    /// `tcp://127.0.0.1:7700`; port 0 takes a free one.
    package var control: String
    package var artifacts: String
    package var joinKey: JoinKey
    package var settings: SchedulerSettings
    /// Allows plain tcp on an address that is not this machine's own.
    package var insecure: Bool
    package var tls: TLSIdentity?

    package init(
        storeFolder: String, control: String, artifacts: String, joinKey: JoinKey, settings: SchedulerSettings = SchedulerSettings(),
        insecure: Bool = false, tls: TLSIdentity? = nil
    ) {
        self.storeFolder = storeFolder
        self.control = control
        self.artifacts = artifacts
        self.joinKey = joinKey
        self.settings = settings
        self.insecure = insecure
        self.tls = tls
    }
}

extension CoordinatorConfiguration {
    /// From a file, or from the environment variable AMAF_JOIN_KEY.
    package static func joinKey(file: String?) throws(AMAFError) -> JoinKey {
        if let file {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw AMAFError(
                    "coordinator.join-key", "The join key file cannot be read", place: file, remedy: "Check the path and its permissions.")
            }
            return try JoinKey(text)
        }
        guard let text = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else {
            throw AMAFError(
                "coordinator.join-key", "No join key was given",
                remedy: "Give --join-key-file FILE or set AMAF_JOIN_KEY; `openssl rand -hex 32` makes one.")
        }
        return try JoinKey(text)
    }

    /// The scheduler's knobs of a defaults file.
    package mutating func takeSettings(from path: String) throws(AMAFError) { settings = try Defaults.load(path).scheduler }
}
