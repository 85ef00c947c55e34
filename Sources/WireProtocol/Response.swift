package import Primitives
package import Scheduling

/// What the coordinator answers.
package enum Response: Hashable, Sendable {
    /// The nonce for HELLO and the version that both speak from now on.
    case challenge(nonce: [UInt8], version: ProtocolVersion)
    /// The answer to HELLO, LEASE, BEAT, COMMIT, FAIL, RELEASE and BYE. With `.welcome` the session of the frame header is
    /// the one that the worker puts into its further requests.
    case worker(WorkerReply, commands: [WorkerCommand])
    /// The session of the frame header is the operator's.
    case operatorWelcome

    /// For each digest of HAVE, in its order.
    case held([Bool])
    /// The artifact's bytes from 0 up to here are stored; equal to the total when it is complete and its digest was right.
    case stored(upTo: Int)
    case chunk(offset: Int, total: Int, bytes: ArraySlice<UInt8>)

    case submitted(RunID)
    /// STATUS, WORKERS, STORY, EXPLAIN and TASKS: a JSON document.
    case json([UInt8])
    case results([StageResults])
    /// CANCEL, PAUSE, RESUME, RETRY, DRAIN, UNDRAIN and ANSWER were carried out.
    case done

    case failed(AMAFError)
    /// The coordinator does not know this type of message; it speaks these versions.
    case unsupported(type: UInt16, versions: ProtocolVersionRange)
}

/// The committed blocks of one stage, by block.
package struct StageResults: Hashable, Sendable {
    package var stage: StageID
    /// Whether every block of the stage is done.
    package var isComplete: Bool
    package var results: [BlockResult]

    package init(stage: StageID, isComplete: Bool, results: [BlockResult]) {
        self.stage = stage
        self.isComplete = isComplete
        self.results = results
    }
}
