import Glibc
import Primitives
import Scheduling
import Testing

@Suite struct ScaleTests {
    /// Dispatch must not depend on how many tasks are queued: a million of them, granted and committed in leases.
    @Test func aMillionTasksAreDispatchedInConstantTime() {
        var settings = SchedulerSettings()
        settings.forcedLeaseBlocks = 1
        var times: [Double] = []
        for blocks in [10_000, 1_000_000] {
            var scheduler = Scheduler(settings: settings, epoch: 1, seed: 1, recovering: StoredState(), at: .origin)
            let hello = WorkerHello(
                worker: "w", bootNonce: 1, tags: [], slots: 1, memoryBytes: 1, numericsClass: "x86", build: "", host: "", heldFences: [])
            _ = scheduler.handle(.hello(hello, RequestToken(rawValue: 1)), at: .origin)
            _ = scheduler.handle(.submitted(plan(stage("noop", blocks: blocks))), at: .origin)
            _ = scheduler.takeChanges()
            let start = processorSeconds()
            for i in 0..<3_000 {
                let effects = scheduler.handle(.leaseRequested("w", freeSlots: 1, token: RequestToken(rawValue: 2)), at: .origin)
                guard case .reply(_, .grants(let grants, _), _)? = effects.first, let grant = grants.first else {
                    return #expect(Bool(false), "no grant")
                }
                #expect(grant.blocks == i..<i + 1)
                let results = [Cluster.result(i)]
                _ = scheduler.handle(
                    .committed("w", [LeaseCommit(fence: grant.fence, results: results, isLast: true)], token: RequestToken(rawValue: 3)),
                    at: .origin)
                _ = scheduler.takeChanges()
            }
            times.append(processorSeconds() - start)
        }
        // What is asked is the order of growth, not speed: a scan of the queue would take a hundred times as long. Caches, which a million
        // tasks and whoever else runs here fill, cost a small factor.
        #expect(times[1] < times[0] * 20, "\(times)")
    }

    /// Of this thread, so that waiting for a processor does not count.
    private func processorSeconds() -> Double {
        var now = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
