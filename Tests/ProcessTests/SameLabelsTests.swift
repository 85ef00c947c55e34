import Foundation
import Testing

/// The promise of DESIGN 2.4 on real processes: the same inputs give the same bytes, whoever computed them and whatever died meanwhile.
@Suite(.serialized) struct SameLabelsTests {
    @Test func oneTwoAndFourWorkersGiveTheSameBytes() throws {
        let programs = try Programs("workers")
        defer { programs.remove() }
        let pipeline = try programs.pipeline(samples: 3000)
        var labels: [Data] = []
        for workers in [1, 2, 4] {
            let (status, output) = try programs.run(
                "amaf", ["run", pipeline, "--workers", "\(workers)", "--output", "\(programs.folder)/out-\(workers)", "--quiet"])
            #expect(status == 0, "\(workers) workers: \(output)")
            labels.append(try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/out-\(workers)/labels.jsonl")))
            try expectWallTimes(in: "\(programs.folder)/out-\(workers)/run.json", workers: workers)
        }
        #expect(labels[0].count > 100_000)
        #expect(labels[0] == labels[1])
        #expect(labels[0] == labels[2])
    }

    /// A stage's wall time is what the clock on the wall showed: below the run's, above its share of the work, and not the sum of the work.
    private func expectWallTimes(in report: String, workers: Int) throws {
        struct Report: Decodable {
            struct Header: Decodable { var wallSeconds: Double }
            struct Stage: Decodable {
                var name: String
                var wallSeconds: Double
                var computeSeconds: Double
            }
            var header: Header
            var stages: [Stage]
        }
        let report = try JSONDecoder().decode(Report.self, from: Data(contentsOf: URL(fileURLWithPath: report)))
        #expect(report.stages.count > 8)
        for stage in report.stages {
            #expect(stage.wallSeconds <= report.header.wallSeconds + 1, "\(stage)")
            // The history counts in milliseconds.
            #expect(stage.wallSeconds + 0.1 >= stage.computeSeconds / Double(workers), "\(stage)")
        }
        #expect(report.stages.contains { abs($0.wallSeconds - $0.computeSeconds) > 1e-9 })
    }

    @Test func killedWorkersAndAKilledCoordinatorChangeNothing() throws {
        let programs = try Programs("kills")
        defer { programs.remove() }
        let pipeline = try programs.pipeline(samples: 20_000)
        let (status, output) = try programs.run(
            "amaf", ["run", pipeline, "--workers", "2", "--output", "\(programs.folder)/calm", "--quiet"])
        #expect(status == 0, "\(output)")
        let calm = try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/calm/labels.jsonl"))

        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let run = try cluster.submit(pipeline)
        try cluster.startWorker()
        try cluster.startWorker()
        var progress = try #require(try cluster.wait(run, share: 0.1))
        #expect(progress.done < progress.blocks, "the run was over before anything was killed")
        // Twice, so that at least one of them had work in hand.
        cluster.killWorker(0)
        try cluster.startWorker()
        progress = try #require(try cluster.wait(run, share: 0.3))
        cluster.killWorker(1)
        try cluster.startWorker()
        progress = try #require(try cluster.wait(run, share: 0.6))
        let (revoked, redone) = (progress.revoked, progress.redone)
        try cluster.killCoordinatorAndRestart()
        progress = try #require(try cluster.wait(run, share: 1))
        #expect(progress.state == "succeeded")
        print(
            "leases revoked: \(revoked) before and \(progress.revoked) after the coordinator's restart; blocks redone: \(redone) and \(progress.redone)"
        )
        #expect(revoked + progress.revoked > 0)
        #expect(redone + progress.redone > 0)
        #expect(try cluster.export(run) == calm)
    }
}
