import Foundation
import Testing

/// What operators see on the head of those who may not come in, and what commands say to names that nobody bears.
@Suite(.serialized) struct OperatorTests {
    @Test func whoIsTurnedAwayIsSeenOnTheHead() throws {
        let programs = try Programs("refused")
        defer { programs.remove() }
        let folder = programs.folder
        for name in ["ours", "theirs"] {
            #expect(try programs.run("amaf", ["certs", "init", "--folder", "\(folder)/\(name)"]).status == 0)
            let issued = try programs.run(
                "amaf", ["certs", "issue", "127.0.0.1", "--authority", "\(folder)/\(name)", "--to", "\(folder)/\(name)/box"])
            #expect(issued.status == 0)
        }
        let cluster = try TestCluster(programs, certificates: "\(folder)/ours/box")
        defer { cluster.stop() }
        _ = try cluster.probe(["--tasks", "1"])
        let worker = ["\(programs.bin)/amaf-worker", "--coordinator", cluster.control, "--orphan-seconds", "20", "--root"]
        let wrongKey = try programs.start(
            worker + ["\(folder)/w-key", "--id", "keyless"], log: "keyless.log",
            environment: ["AMAF_JOIN_KEY": "another-key-of-another-cluster", "AMAF_CERTS": "\(folder)/ours/box"])
        let foreign = try programs.start(
            worker + ["\(folder)/w-foreign", "--id", "foreign"], log: "foreign.log",
            environment: cluster.environment.merging(["AMAF_CERTS": "\(folder)/theirs/box"]) { $1 })
        defer { for process in [wrongKey, foreign] where process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        var status = ""
        for _ in 0..<1200 where !(status.contains("keyless") && status.contains("failed TLS handshakes")) {
            usleep(50_000)
            status = try cluster.amaf(["status"])
        }
        #expect(status.contains("Worker keyless on") && status.contains("does not know the join key"), "\(status)")
        #expect(status.contains("failed TLS handshakes"), "\(status)")
        for _ in 0..<1200 where !cluster.log().contains("turned connections away") { usleep(50_000) }
        #expect(cluster.log().contains("turned connections away"), "\(cluster.log())")
        // Neither of them ever joined, and both leave when they are told to.
        for process in [wrongKey, foreign] {
            process.terminate()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
        }
    }

    @Test func commandsForUnknownNamesFail() throws {
        let programs = try Programs("names")
        defer { programs.remove() }
        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let run = try cluster.probe(["--tasks", "3", "--requires", "nobody"])
        for command in ["cancel", "pause", "resume", "retry", "drain", "undrain"] {
            let (status, output) = try programs.run("amaf", [command, "nosuch"], environment: cluster.environment)
            #expect(status == 1 && output.contains("[coordinator.no-"), "\(command): \(output)")
        }
        #expect(try cluster.amaf(["pause", run]).contains("done"))
        #expect(try cluster.progress(run)?.state == "paused")
        #expect(try cluster.amaf(["resume", run]).contains("done"))
        #expect(try cluster.amaf(["tasks", run]).contains("no task was leased yet"))
        #expect(try cluster.amaf(["cancel", run]).contains("done"))
        #expect(try cluster.progress(run)?.state == "cancelled")
    }

    /// A sample that kills its process is found, left out and told of; the other tasks are not touched.
    @Test func aPoisonSampleIsFoundAndTheStoryTellsIt() throws {
        let programs = try Programs("poison")
        defer { programs.remove() }
        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        try cluster.startWorker()
        try cluster.startWorker()
        let run = try cluster.probe(["--tasks", "4", "--crash-task", "1", "--crash-sample", "5"])
        let end = try #require(try cluster.until(run) { $0.state == "succeeded" || $0.state == "failed" })
        #expect(end.state == "succeeded" && end.done == 4 && end.totals["quarantinedSamples"] == 1)
        let story = try cluster.amaf(["story", run, "probe", "1"])
        #expect(story.contains("sample-quarantined") && story.contains("21"), "\(story)")
        #expect(try cluster.amaf(["tasks", run]).contains("done"))
    }
}
