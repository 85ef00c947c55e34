import Foundation
import Testing

/// Which worker gets which task, by the journal of a real cluster.
@Suite(.serialized) struct PlacementTests {
    @Test func tasksRunOnlyWhereTheirTagsAllow() throws {
        let programs = try Programs("tags")
        defer { programs.remove() }
        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let tags = ["cpu-1": ["cpu"], "cpu-2": ["cpu"], "lab-1": ["cpu", "lab"], "gpu-1": ["cpu", "gpu"]]
        for name in ["cpu-1", "cpu-2"] { try cluster.startWorker(name) }
        try cluster.startWorker("lab-1", ["--tags", "cpu,lab"])
        _ = try cluster.until(try cluster.probe(["--tasks", "6"])) { $0.state == "succeeded" }
        try cluster.untilJoined(["cpu-1", "cpu-2", "lab-1"])

        // Without a gpu worker a stage that requires one waits, and says why.
        let gpu = try cluster.probe(["--tasks", "12", "--sleep", "0.05", "--requires", "gpu"])
        let why = try cluster.amaf(["explain-task", gpu, "probe", "0"])
        for name in ["cpu-1", "cpu-2", "lab-1"] {
            #expect(why.contains("Worker \(name) has no tag 'gpu', which the stage requires."), "\(why)")
        }
        #expect(try cluster.amaf(["status", gpu]).contains("waits for a worker with the tag 'gpu'"))

        // One that only prefers it falls back when its delay is over, and not before.
        let patient = try cluster.probe(["--tasks", "4", "--prefers", "gpu", "--preference-delay", "1"])
        #expect(try cluster.until(patient) { $0.state == "succeeded" } != nil)
        let begun = try cluster.journal(patient)
        let submitted = try #require(begun.first { $0.entry.what == "submitted" }?.at)
        let leased = try #require(begun.first { $0.entry.what == "leased" }?.at)
        #expect(leased - submitted >= 990, "it fell back after \(leased - submitted) ms")

        let lab = try cluster.probe(["--tasks", "20", "--sleep", "0.02", "--requires", "lab"])
        let any = try cluster.probe(["--tasks", "60", "--sleep", "0.02"])
        #expect(try cluster.until(lab) { $0.state == "succeeded" } != nil)
        #expect(try cluster.progress(gpu)?.done == 0)
        try cluster.startWorker("gpu-1", ["--emulate-gpu"])
        #expect(try cluster.until(gpu) { $0.state == "succeeded" } != nil)
        #expect(try cluster.until(any) { $0.state == "succeeded" } != nil)
        // With the worker there, what prefers it goes to it.
        let eager = try cluster.probe(["--tasks", "4", "--sleep", "0.02", "--prefers", "gpu", "--preference-delay", "60"])
        #expect(try cluster.until(eager) { $0.state == "succeeded" } != nil)
        let named = try cluster.amaf(["workers"])
        #expect(named.contains("emulated-gpu"), "an emulated device is called one: \(named)")

        for (run, required) in [(gpu, "gpu"), (lab, "lab"), (any, "cpu"), (eager, "gpu")] {
            let leases = try cluster.journal(run).filter { $0.entry.what == "leased" }
            #expect(!leases.isEmpty)
            for lease in leases {
                let worker = try #require(lease.entry.worker)
                #expect(tags[worker]?.contains(required) == true, "\(run) requires \(required) and ran on \(worker)")
            }
        }
        let joined = try #require(try cluster.journal().first { $0.entry.what == "worker-joined" && $0.entry.worker == "gpu-1" }?.at)
        let firstWork = try #require(try cluster.journal(gpu).first { $0.entry.what == "leased" }?.at)
        print("tags: the joining gpu worker has work after \(firstWork - joined) ms")
    }

    @Test func numericsClassesAreNotMixed() throws {
        let programs = try Programs("numerics")
        defer { programs.remove() }
        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        try cluster.startWorker("old", ["--numerics-class", "cpu/x86-64-v3/test"])
        try cluster.startWorker("new", ["--numerics-class", "cpu/x86-64-v4/test"])
        _ = try cluster.until(try cluster.probe(["--tasks", "8", "--any-numerics"])) { $0.state == "succeeded" }
        try cluster.untilJoined(["old", "new"])
        let run = try cluster.probe(["--tasks", "40", "--sleep", "0.1"])
        var status = ""
        _ = try cluster.until(run) {
            status = try cluster.amaf(["status", run])
            return status.contains("sits idle") || $0.state == "succeeded"
        }
        let end = try #require(try cluster.until(run) { $0.state == "succeeded" })
        let workers = Set(try cluster.journal(run).filter { $0.entry.what == "leased" }.compactMap(\.entry.worker))
        #expect(workers.count == 1, "one stage was computed by \(workers.sorted())")
        #expect(end.totals["conflicts"] == 0)
        let idle = workers == ["old"] ? "new" : "old"
        #expect(status.contains("\(idle) sits idle: it computes in"), "\(status)")
        // Where the run allows it, both work, and everybody is told.
        let mixed = try cluster.probe(["--tasks", "40", "--sleep", "0.1", "--any-numerics"])
        _ = try cluster.until(mixed) { $0.done > 4 }
        #expect(try cluster.amaf(["status", mixed]).contains("numerics: any"))
        #expect(try cluster.until(mixed) { $0.state == "succeeded" } != nil)
        let both = Set(try cluster.journal(mixed).filter { $0.entry.what == "leased" }.compactMap(\.entry.worker))
        #expect(both.count == 2)
    }

    /// The size of leases, their splitting and second attempts are the cluster's business: the labels know nothing of them.
    @Test func leasesOfAnySizeGiveTheSameLabels() throws {
        let programs = try Programs("leases")
        defer { programs.remove() }
        let settings = [
            "{}", "{forced-lease-blocks: 1, splits-tail: false, speculates: false}", "{forced-lease-blocks: 7}",
            "{forced-lease-blocks: 64, splits-tail: true}",
        ]
        var labels: [Data] = []
        for (i, scheduler) in settings.enumerated() {
            let place = "\(programs.folder)/\(i)"
            let pipeline = try programs.pipeline(samples: 600, blockSize: 16, in: "\(place)/pipelines")
            try Data("scheduler: \(scheduler)\n".utf8).write(to: URL(fileURLWithPath: "\(place)/defaults.yaml"))
            let (status, output) = try programs.run("amaf", ["run", pipeline, "--workers", "2", "--output", "\(place)/out", "--quiet"])
            #expect(status == 0, "\(scheduler): \(output)")
            labels.append(try Data(contentsOf: URL(fileURLWithPath: "\(place)/out/labels.jsonl")))
        }
        #expect(labels[0].count > 25_000)
        for (scheduler, label) in zip(settings, labels) { #expect(label == labels[0], "\(scheduler) changed the labels") }
    }
}
