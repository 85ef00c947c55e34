import Foundation

/// The real binaries of this build, and a scratch folder that other users may enter.
struct Programs {
    let folder: String
    let bin: String
    /// `setpriv` arguments that take all rights from a worker, or none where this process cannot give rights away.
    let asNobody: [String]

    init(_ name: String) throws {
        folder = NSTemporaryDirectory() + "amaf-process-\(name)-\(getpid())"
        try? FileManager.default.removeItem(atPath: folder)
        bin = "\(folder)/bin"
        try FileManager.default.createDirectory(atPath: bin, withIntermediateDirectories: true)
        let built = Self.buildFolder()
        for program in ["amaf", "amaf-coordinator", "amaf-worker"] {
            try FileManager.default.copyItem(atPath: "\(built)/\(program)", toPath: "\(bin)/\(program)")
        }
        asNobody =
            getuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv")
            ? ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : []
    }

    /// The test bundle lies beside the programs.
    private static func buildFolder() -> String {
        let own = CommandLine.arguments[0]
        var url = URL(fileURLWithPath: own).deletingLastPathComponent()
        for _ in 0..<4 {
            if FileManager.default.isExecutableFile(atPath: url.appendingPathComponent("amaf-worker").path) { return url.path }
            url.deleteLastPathComponent()
        }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return root.appendingPathComponent(".build/release").path
    }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }

    /// Runs to the end; standard output and error together.
    @discardableResult
    func run(_ program: String, _ arguments: [String], environment: [String: String] = [:]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program.hasPrefix("/") ? program : "\(bin)/\(program)")
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let log = "\(folder)/\(UUID().uuidString).log"
        _ = FileManager.default.createFile(atPath: log, contents: nil)
        let handle = FileHandle(forWritingAtPath: log)
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, (try? String(contentsOfFile: log, encoding: .utf8)) ?? "")
    }

    func start(_ arguments: [String], log: String, environment: [String: String] = [:]) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: arguments[0])
        process.arguments = Array(arguments.dropFirst())
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        _ = FileManager.default.createFile(atPath: "\(folder)/\(log)", contents: nil)
        let handle = FileHandle(forWritingAtPath: "\(folder)/\(log)")
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try process.run()
        return process
    }

    /// A pipeline on generated data, small blocks so that there is much to schedule.
    func pipeline(samples: Int, extra: String = "") throws -> String {
        let path = "\(folder)/job.yaml"
        let text = """
            name: process-test
            dataset:
              generate: {samples: \(samples), classes: 10, seed: 3}
            block-size: 64
            acquisition: margin
            control: random
            review: {mode: simulated, budget: 0.10, initial: 20, rounds: 5}
            seeds: [1, 2]
            \(extra)
            """
        try Data((text + "\n").utf8).write(to: URL(fileURLWithPath: path))
        return path
    }
}

/// A coordinator and workers as separate processes on loopback; each worker has its own root and, where the test may give rights away, no
/// right to read the head's store.
final class TestCluster {
    private let programs: Programs
    private let key = "process-test-join-key-0123456789"
    private let port: Int
    private(set) var coordinator: Process
    private(set) var workers: [Process] = []
    private var startedWorkers = 0

    init(_ programs: Programs, port: Int) throws {
        self.programs = programs
        self.port = port
        // Short leases, so that the leases of a killed worker are seen to expire within the test.
        let defaults = "scheduler: {lease-time-to-live: 2 s, beat-interval: 500 ms, suspect-after: 1 s, recovery-grace: 2 s}\n"
        try Data(defaults.utf8).write(to: URL(fileURLWithPath: "\(programs.folder)/defaults.yaml"))
        coordinator = try Self.serve(programs, port: port, key: key, number: 0)
        try FileManager.default.createDirectory(atPath: "\(programs.folder)/store", withIntermediateDirectories: true)
        chmod("\(programs.folder)/store", 0o700)
    }

    private static func serve(_ programs: Programs, port: Int, key: String, number: Int) throws -> Process {
        try programs.start(
            [
                "\(programs.bin)/amaf-coordinator", "serve", "--store", "\(programs.folder)/store", "--control", "tcp://127.0.0.1:\(port)",
                "--artifacts", "tcp://127.0.0.1:\(port + 1)", "--defaults", "\(programs.folder)/defaults.yaml",
            ], log: "coordinator-\(number).log", environment: ["AMAF_JOIN_KEY": key])
    }

    var environment: [String: String] { ["AMAF_JOIN_KEY": key, "AMAF_COORDINATOR": "tcp://127.0.0.1:\(port)"] }

    func startWorker(_ options: [String] = []) throws {
        startedWorkers += 1
        let root = "\(programs.folder)/worker-\(startedWorkers)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        if !programs.asNobody.isEmpty { chown(root, 65534, 65534) }
        workers.append(
            try programs.start(
                programs.asNobody + [
                    "\(programs.bin)/amaf-worker", "--coordinator", "tcp://127.0.0.1:\(port)", "--root", root, "--id", "w\(startedWorkers)",
                    "--orphan-seconds", "60",
                ] + options, log: "worker-\(startedWorkers).log", environment: environment))
    }

    /// SIGKILL, as a power cut would: no goodbye.
    func killWorker(_ number: Int) {
        kill(workers[number].processIdentifier, SIGKILL)
        workers[number].waitUntilExit()
    }

    func killCoordinatorAndRestart(_ number: Int) throws {
        kill(coordinator.processIdentifier, SIGKILL)
        coordinator.waitUntilExit()
        coordinator = try Self.serve(programs, port: port, key: key, number: number)
    }

    struct Progress {
        var state: String
        var done: Int
        var blocks: Int
        var revoked: Int
        var redone: Int
    }

    func progress(_ run: String) throws -> Progress? {
        let (status, text) = try programs.run("amaf", ["status", run, "--json"], environment: environment)
        guard status == 0, let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
            let snapshot = object["snapshot"] as? [String: Any], let view = (snapshot["runs"] as? [[String: Any]])?.first,
            let stages = view["stages"] as? [[String: Any]], let totals = snapshot["totals"] as? [String: Any]
        else { return nil }
        func sum(_ key: String) -> Int { stages.reduce(0) { $0 + ($1[key] as? Int ?? 0) } }
        return Progress(
            state: view["state"] as? String ?? "", done: sum("done"), blocks: sum("blocks"),
            // As `Totals.leasesTakenBack`.
            revoked: max(
                (totals["leasesExpired"] as? Int ?? 0) + (totals["leasesRevoked"] as? Int ?? 0), totals["secondFences"] as? Int ?? 0),
            redone: totals["blocksRedone"] as? Int ?? 0)
    }

    /// Waits until a share of the blocks is done, or the run has ended.
    func wait(_ run: String, share: Double, seconds: Double = 90) throws -> Progress? {
        let end = Date(timeIntervalSinceNow: seconds)
        var last: Progress?
        while Date() < end {
            if let now = try progress(run) {
                last = now
                if now.state == "succeeded" || now.state == "failed" || Double(now.done) >= share * Double(now.blocks) && share < 1 {
                    return now
                }
            }
            usleep(50_000)
        }
        return last
    }

    func submit(_ pipeline: String) throws -> String {
        let end = Date(timeIntervalSinceNow: 20)
        var last = ""
        while Date() < end {
            let (status, text) = try programs.run("amaf", ["submit", pipeline], environment: environment)
            if status == 0 { return text.split(separator: "\n").last.map(String.init) ?? "" }
            last = text
            usleep(100_000)
        }
        throw NSError(domain: "submit: \(last)", code: 1)
    }

    func export(_ run: String) throws -> Data {
        let (status, text) = try programs.run("amaf", ["export", run, "--output", "\(programs.folder)/exported"], environment: environment)
        guard status == 0 else { throw NSError(domain: "export: \(text)", code: 1) }
        return try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/exported/labels.jsonl"))
    }

    func stop() {
        for worker in workers where worker.isRunning { kill(worker.processIdentifier, SIGKILL) }
        if coordinator.isRunning { kill(coordinator.processIdentifier, SIGKILL) }
        for process in workers + [coordinator] { process.waitUntilExit() }
    }
}
