import Foundation
import Primitives

/// Who holds which session. Both doors look here; sessions end with the coordinator's process, so a client of an earlier head is told to
/// join again.
///
/// `@unchecked Sendable`: everything is touched with `lock` held.
final class SessionTable: @unchecked Sendable {
    enum Holder: Hashable, Sendable {
        case worker(WorkerID)
        case operatorNamed(String)
    }
    private let lock = NSLock()
    private var holders: [UInt64: Holder] = [:]
    private var sessionOfWorker: [WorkerID: UInt64] = [:]

    func holder(of session: UInt64) -> Holder? {
        lock.lock()
        defer { lock.unlock() }
        return holders[session]
    }

    /// A worker has one session: an older one ends, so that two agents of one name cannot both work.
    func open(_ holder: Holder, using generator: inout some RandomNumberGenerator) -> UInt64 {
        lock.lock()
        defer { lock.unlock() }
        var session: UInt64
        repeat { session = generator.next() } while session == 0 || holders[session] != nil
        holders[session] = holder
        if case .worker(let worker) = holder, let old = sessionOfWorker.updateValue(session, forKey: worker) { holders[old] = nil }
        return session
    }

    func close(_ worker: WorkerID) {
        lock.lock()
        defer { lock.unlock() }
        if let session = sessionOfWorker.removeValue(forKey: worker) { holders[session] = nil }
    }
}
