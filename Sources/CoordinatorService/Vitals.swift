package import Primitives
package import WireProtocol

/// What a worker said of its machine with its last beat, and how far its clock is from the head's.
package struct ReportedVitals: Hashable, Sendable, Codable {
    package var worker: WorkerID
    package var vitals: WorkerVitals
    /// The worker's clock less the head's when the beat arrived, in seconds; the way of the message is in it.
    package var clockSkewSeconds: Double

    init(_ vitals: WorkerVitals, of worker: WorkerID, headClockMilliseconds: Int64) {
        self.worker = worker
        self.vitals = vitals
        clockSkewSeconds = Double(vitals.wallClockMilliseconds) / 1000 - Double(headClockMilliseconds) / 1000
    }
}
