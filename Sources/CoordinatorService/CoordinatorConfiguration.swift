package import Messaging
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
