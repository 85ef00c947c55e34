import Foundation
import Testing

/// Machines that stop, clocks that jump, ports that are abused and disks that fill.
@Suite(.serialized) struct HardTimesTests {
    /// For a few seconds here; AMAF_LONG_TESTS=1 makes it a minute.
    @Test func aBusyWorkerIsNeverLost() throws {
        let programs = try Programs("busy")
        defer { programs.remove() }
        let cluster = try TestCluster(
            programs, scheduler: "lease-time-to-live: 5 s, beat-interval: 1 s, suspect-after: 3 s, recovery-grace: 5 s")
        defer { cluster.stop() }
        let cores = ProcessInfo.processInfo.activeProcessorCount
        try cluster.startWorker("busy", ["--slots", "\(2 * cores)"])
        // Twice as many processes as cores compute, and as many again that know nothing of the cluster.
        var burners: [Process] = []
        defer { for burner in burners { kill(burner.processIdentifier, SIGKILL) } }
        for i in 0..<(2 * cores) { burners.append(try programs.start(["/bin/sh", "-c", "while :; do :; done"], log: "burner-\(i).log")) }
        let seconds = Programs.isLong ? 60.0 : 3
        let run = try cluster.probe(["--tasks", "100000", "--spin", "500"])
        _ = try cluster.until(run) { $0.done > 0 }
        let end = Date(timeIntervalSinceNow: seconds)
        while Date() < end {
            let now = try #require(try cluster.progress(run))
            #expect(now.totals["workersLost"] == 0 && now.totals["leasesExpired"] == 0)
            sleep(1)
        }
        let last = try #require(try cluster.progress(run))
        #expect(last.done > 0 && last.totals["leasesGranted"] ?? 0 > 0 && last.totals["secondFences"] == 0)
        let events = try cluster.journal().map(\.entry.what)
        #expect(!events.contains("worker-lost") && !events.contains("expired"))
    }

    /// A worker that was stopped wakes up with a finished result whose lease is over.
    @Test func aLateCommitMeetsTheRightRow() throws {
        let programs = try Programs("late")
        defer { programs.remove() }
        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let sleeper = try cluster.startWorker("sleeper")
        let agent = cluster.workers[sleeper].processIdentifier
        defer { kill(agent, SIGCONT) }
        // Whether the late commit or the word that its fence is dead comes first is a race that the commit may lose a few times.
        func wakeUpLate(beforeWaking: (String) throws -> Void) throws -> TestCluster.Progress {
            let before = try cluster.progress(try cluster.probe(["--tasks", "1", "--requires", "nobody"]))?.totals ?? [:]
            let run = try cluster.probe(["--tasks", "1", "--sleep", "1"])
            _ = try #require(try cluster.until(run) { $0.totals["leasesGranted"] ?? 0 > before["leasesGranted"] ?? 0 })
            kill(agent, SIGSTOP)
            _ = try #require(try cluster.until(run) { $0.totals["leasesExpired"] ?? 0 > before["leasesExpired"] ?? 0 })
            try beforeWaking(run)
            kill(agent, SIGCONT)
            _ = try #require(try cluster.until(run) { $0.state == "succeeded" })
            // Time for a commit that is on its way to be judged.
            _ = try cluster.until(run, seconds: 2) { $0.totals["duplicates"] ?? 0 > before["duplicates"] ?? 0 }
            return try #require(try cluster.progress(run))
        }
        var rounds = 0
        var end: TestCluster.Progress
        // Nobody else is there: uncommitted, fence dead, so FENCED, and the task is done again.
        repeat {
            end = try wakeUpLate { _ in }
            rounds += 1
        } while end.totals["fenced"] == 0 && rounds < 6
        #expect(end.totals["fenced"] == 1 && end.totals["duplicates"] == 0 && end.totals["accepted"] == rounds)
        // Another committed the same bytes meanwhile: DUPLICATE, whatever the fence.
        var other: Int?
        repeat {
            end = try wakeUpLate { run in
                other = try cluster.startWorker("other")
                _ = try #require(try cluster.until(run) { $0.state == "succeeded" })
            }
            // The next round's task must go to the sleeper.
            if let other { cluster.killWorker(other) }
            rounds += 1
        } while end.totals["duplicates"] == 0 && rounds < 12
        #expect(end.totals["duplicates"] == 1 && end.totals["accepted"] == rounds && end.totals["conflicts"] == 0)
    }

    /// Leases run on a clock that nobody can set.
    @Test func aSteppedWallClockEndsNoLease() throws {
        let programs = try Programs("clock")
        defer { programs.remove() }
        guard let clock = try SteppedClock(in: programs) else { return print("skipped: no C compiler to make the stepped clock with") }
        let cluster = try TestCluster(programs, surroundings: clock.environment)
        defer { cluster.stop() }
        try cluster.startWorker()
        try cluster.startWorker()
        let run = try cluster.probe(["--tasks", "50", "--sleep", "0.2", "--lease-limit", "5"])
        _ = try #require(try cluster.until(run) { $0.done > 6 })
        try clock.step(seconds: 3600)
        _ = try #require(try cluster.until(run) { $0.done > 24 })
        try clock.step(seconds: -3600)
        let end = try #require(try cluster.until(run) { $0.state == "succeeded" })
        #expect(end.totals["leasesExpired"] == 0 && end.totals["workersLost"] == 0 && end.redone == 0)
        // It was stepped at all: the journal's times say so.
        let times = try cluster.journal(run).map(\.at)
        #expect((times.max() ?? 0) - (times.min() ?? 0) > 7_000_000)
    }

    @Test func silentAndNoisyConnectionsDoNotStopService() throws {
        let programs = try Programs("abuse")
        defer { programs.remove() }
        let certificates = "\(programs.folder)/certs"
        #expect(try programs.run("amaf", ["certs", "init", "--folder", certificates]).status == 0)
        #expect(
            try programs.run("amaf", ["certs", "issue", "127.0.0.1", "--authority", certificates, "--to", "\(certificates)/box"]).status
                == 0)
        // The workers are nobody here; between boxes each has a copy of its own.
        for (path, mode) in [(certificates, 0o755), ("\(certificates)/box", 0o755), ("\(certificates)/box/host.key", 0o644)] {
            chmod(path, mode_t(mode))
        }
        let cluster = try TestCluster(programs, certificates: "\(certificates)/box")
        defer { cluster.stop() }
        try cluster.startWorker()
        _ = try #require(try cluster.until(try cluster.probe(["--tasks", "2"])) { $0.state == "succeeded" })
        var connections: [Int32] = []
        defer { for connection in connections { close(connection) } }
        for i in 0..<200 { connections.append(try #require(Self.dial(cluster.port + i % 2))) }
        var noise = SystemRandomNumberGenerator()
        for i in 0..<100 {
            let connection = try #require(Self.dial(cluster.port + i % 2))
            let bytes = (0..<Int.random(in: 1..<4096)).map { _ in UInt8.random(in: 0...255, using: &noise) }
            _ = bytes.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            // Some go at once, the others stay and say nothing more.
            if i % 3 == 0 { close(connection) } else { connections.append(connection) }
        }
        let run = try cluster.probe(["--tasks", "50", "--output-bytes", "100000"])
        let end = try #require(try cluster.until(run) { $0.state == "succeeded" })
        #expect(end.totals["workersLost"] == 0)
        // New ones are still let in.
        try cluster.startWorker("newcomer")
        #expect(try cluster.until(run) { _ in try cluster.amaf(["workers"]).contains("newcomer") } != nil)
        #expect(cluster.coordinator.isRunning)
    }

    private static func dial(_ port: Int) -> Int32? {
        let connection = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(connection, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        if status == 0 { return connection }
        close(connection)
        return nil
    }

    @Test(
        .enabled(
            if: getuid() == 0 && FileManager.default.isExecutableFile(atPath: "/bin/mount"),
            "needs root, to mount a small file system that can fill"),
        // Outputs that ride in the head's transactions, and outputs that are files before any transaction names them.
        arguments: [20_000, 100_000])
    func aFullDiskIsSeenAndLosesNothing(outputBytes: Int) throws {
        let programs = try Programs("disk-\(outputBytes)")
        defer { programs.remove() }
        let disk = "\(programs.folder)/disk"
        try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
        // In a container without the right to mount there is nothing to see.
        guard try programs.run("/bin/mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", disk]).status == 0 else {
            print("skipped: this process may not mount a file system")
            return
        }
        defer { _ = try? programs.run("/bin/umount", ["-l", disk]) }
        let cluster = try TestCluster(programs, store: "\(disk)/store")
        defer { cluster.stop() }
        try cluster.startWorker()
        let run = try cluster.probe(["--tasks", "\(12_000_000 / outputBytes)", "--output-bytes", "\(outputBytes)"])
        // `done` counts what the head has decided; the error says that not all of it is stored.
        _ = try #require(try cluster.until(run) { $0.storeError != nil })
        let status = try cluster.amaf(["status"])
        #expect(status.contains("THE STORE REFUSES TO WRITE") && status.contains("store.disk-full"), "\(status)")
        #expect(cluster.log().contains("the store refuses to write"))
        #expect(try programs.run("/bin/mount", ["-o", "remount,size=200m", disk]).status == 0)
        let end = try #require(try cluster.until(run) { $0.state == "succeeded" })
        #expect(end.done == 12_000_000 / outputBytes && end.storeError == nil)
        // Every row that was answered is there for the next head.
        try cluster.killCoordinatorAndRestart()
        let after = try #require(try cluster.until(run) { $0.state == "succeeded" })
        #expect(after.done == 12_000_000 / outputBytes)
    }
}
