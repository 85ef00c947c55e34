package import Primitives
package import Scheduling

/// What an agent was started with.
package struct WorkerConfiguration: Sendable {
    package var worker: WorkerID
    /// The worker's own folder: cache and slot logs. Nothing else on the machine is read or written.
    package var root: String
    package var tags: [String]
    package var slots: Int
    package var cacheLimitBytes: Int
    /// Parsed inputs that one slot keeps in memory.
    package var objectCacheBytes: Int
    package var memoryBytes: UInt64
    /// A slot that holds more of its own than this is ended; 0 for no limit.
    package var memoryLimitPerSlotBytes: Int
    /// Folders of this machine in which data sets may lie under their own names.
    package var dataFolders: [String]
    /// Programs named in labeling functions may be run.
    package var allowsExec: Bool
    package var numericsClass: NumericsClass
    package var host: String
    /// The program that slots run; the agent's own file.
    package var slotProgram: String
    package var settings: WorkerSettings
    /// Leave after this long without a coordinator; nil waits for ever.
    package var orphanTimeout: Duration?

    package init(
        worker: WorkerID, root: String, tags: [String], slots: Int,
        cacheLimitBytes: Int, objectCacheBytes: Int, memoryBytes: UInt64,
        memoryLimitPerSlotBytes: Int = 0, dataFolders: [String] = [], allowsExec: Bool = false, numericsClass: NumericsClass, host: String,
        slotProgram: String,
        settings: WorkerSettings = WorkerSettings(), orphanTimeout: Duration? = nil
    ) {
        self.worker = worker
        self.root = root
        self.tags = tags
        self.slots = slots
        self.cacheLimitBytes = cacheLimitBytes
        self.objectCacheBytes = objectCacheBytes
        self.memoryBytes = memoryBytes
        self.memoryLimitPerSlotBytes = memoryLimitPerSlotBytes
        self.dataFolders = dataFolders
        self.allowsExec = allowsExec
        self.numericsClass = numericsClass
        self.host = host
        self.slotProgram = slotProgram
        self.settings = settings
        self.orphanTimeout = orphanTimeout
    }

    /// Threads that the kernels of one slot use by default.
    package func lanesPerSlot(processors: Int) -> Int { max(1, processors / max(1, slots)) }
}
