package import Scheduling

/// Who forms a cluster: a file of `cluster/`.
package struct ClusterManifest: Hashable, Sendable {
    /// Mutual TLS of the two NNG doors; all three files are PEM.
    package struct TLS: Hashable, Sendable, Codable {
        package var certificate: String
        package var key: String
        package var authority: String

        package init(certificate: String, key: String, authority: String) {
            self.certificate = certificate
            self.key = key
            self.authority = authority
        }
    }

    /// Workers that are started alike.
    package struct WorkerGroup: Hashable, Sendable, Codable {
        package var name: String
        /// How many agents of this kind a launcher starts.
        package var count: Int
        /// Sorted.
        package var tags: [String]
        /// Child processes, each working on one lease at a time.
        package var slots: Int
        package var memoryBytesPerSlot: UInt64?
        /// Artifacts kept by a worker between tasks.
        package var cacheBytes: UInt64

        package init(name: String, count: Int, tags: [String], slots: Int, memoryBytesPerSlot: UInt64?, cacheBytes: UInt64) {
            self.name = name
            self.count = count
            self.tags = tags
            self.slots = slots
            self.memoryBytesPerSlot = memoryBytesPerSlot
            self.cacheBytes = cacheBytes
        }
    }

    package var name: String
    package var path: String
    /// NNG URLs: `tcp://127.0.0.1:7700`, `tls+tcp://head:7700`.
    package var control: String
    package var artifacts: String
    /// `host:port` of the HTTP console.
    package var console: String
    /// The head's own folder (store, artifacts); only the coordinator reads it. Resolved against the manifest; `~` expanded.
    package var stateFolder: String
    package var tls: TLS?
    /// Holds the cluster's join key; the key itself never stands in a manifest.
    package var joinKeyFile: String?
    /// Allows addresses off this machine without TLS.
    package var insecure: Bool
    package var workers: [WorkerGroup]
    package var scheduler: SchedulerSettings

    package init(
        name: String, path: String, control: String, artifacts: String, console: String, stateFolder: String, tls: TLS? = nil,
        joinKeyFile: String? = nil, insecure: Bool = false, workers: [WorkerGroup] = [], scheduler: SchedulerSettings = SchedulerSettings()
    ) {
        self.name = name
        self.path = path
        self.control = control
        self.artifacts = artifacts
        self.console = console
        self.stateFolder = stateFolder
        self.tls = tls
        self.joinKeyFile = joinKeyFile
        self.insecure = insecure
        self.workers = workers
        self.scheduler = scheduler
    }
}
