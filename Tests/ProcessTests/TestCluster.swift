import Foundation

/// A coordinator and workers as separate processes on loopback; each worker has its own root and, where the test may give rights away, no
/// right to read the head's store.
final class TestCluster {
    let programs: Programs
    private let key = "process-test-join-key-0123456789"
    let port: Int
    /// `tcp`, or `tls+tcp` with a folder of certificates.
    private let scheme: String
    private let certificates: String?
    private let store: String
    /// What every process of the cluster finds in its environment, a changed clock for example.
    private let surroundings: [String: String]
    private var heads = 0
    private(set) var coordinator: Process
    private(set) var workers: [Process] = []
    private var startedWorkers = 0

    /// - Parameters:
    ///   - scheduler: the knobs in place of the short leases, which let the leases of a killed worker be seen to expire within a test.
    ///   - store: the head's folder; `store` in the scratch folder without it.
    init(
        _ programs: Programs, scheduler: String = "lease-time-to-live: 2 s, beat-interval: 500 ms, suspect-after: 1 s, recovery-grace: 2 s",
        certificates: String? = nil, store: String? = nil, surroundings: [String: String] = [:]
    ) throws {
        self.programs = programs
        self.certificates = certificates
        self.surroundings = surroundings
        scheme = certificates == nil ? "tcp" : "tls+tcp"
        port = Self.freePort()
        self.store = store ?? "\(programs.folder)/store"
        try Data("scheduler: {\(scheduler)}\n".utf8).write(to: URL(fileURLWithPath: "\(programs.folder)/defaults.yaml"))
        try FileManager.default.createDirectory(atPath: self.store, withIntermediateDirectories: true)
        chmod(self.store, 0o700)
        coordinator = Process()
        try serve()
    }

    /// A pair of ports from which nobody listens now, below those that the kernel gives to clients.
    private static func freePort() -> Int {
        for _ in 0..<200 {
            let port = Int.random(in: 12_000..<32_000)
            if isFree(port) && isFree(port + 1) { return port }
        }
        return 17_000
    }

    private static func isFree(_ port: Int) -> Bool {
        let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(probe) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(probe, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
    }

    private func serve() throws {
        var arguments = [
            "\(programs.bin)/amaf-coordinator", "serve", "--store", store, "--control", control, "--artifacts",
            "\(scheme)://127.0.0.1:\(port + 1)", "--defaults", "\(programs.folder)/defaults.yaml",
        ]
        if let certificates { arguments += ["--certs", certificates] }
        coordinator = try programs.start(
            arguments, log: "coordinator-\(port)-\(heads).log", environment: surroundings.merging(["AMAF_JOIN_KEY": key]) { $1 })
        heads += 1
    }

    var control: String { "\(scheme)://127.0.0.1:\(port)" }

    var environment: [String: String] {
        var all = ["AMAF_JOIN_KEY": key, "AMAF_COORDINATOR": control]
        if let certificates { all["AMAF_CERTS"] = certificates }
        return all
    }

    /// Each worker has a root of its own and, where this process may give rights away, no right to read the head's store.
    @discardableResult
    func startWorker(_ name: String? = nil, _ arguments: [String] = []) throws -> Int {
        startedWorkers += 1
        let name = name ?? "w\(startedWorkers)"
        let root = "\(programs.folder)/worker-\(port)-\(name)-\(startedWorkers)"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        if !programs.asNobody.isEmpty {
            chown(root, 65534, 65534)
            chmod(root, 0o700)
        }
        workers.append(
            try programs.start(
                programs.asNobody + [
                    "\(programs.bin)/amaf-worker", "--coordinator", control, "--root", root, "--id", name, "--orphan-seconds", "60",
                ] + arguments, log: "worker-\(port)-\(name)-\(startedWorkers).log", environment: surroundings.merging(environment) { $1 }))
        return workers.count - 1
    }

    /// SIGKILL, as a power cut would: no goodbye.
    func killWorker(_ number: Int) {
        kill(workers[number].processIdentifier, SIGKILL)
        workers[number].waitUntilExit()
    }

    func killCoordinator() {
        kill(coordinator.processIdentifier, SIGKILL)
        coordinator.waitUntilExit()
    }

    func killCoordinatorAndRestart() throws {
        killCoordinator()
        try serve()
    }

    struct Progress {
        var state: String
        var done: Int
        var blocks: Int
        var revoked: Int
        var redone: Int
        /// Of this head, by their names in `Totals`.
        var totals: [String: Int]
        var storeError: String?
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
            redone: totals["blocksRedone"] as? Int ?? 0, totals: totals.compactMapValues { $0 as? Int },
            storeError: (object["head"] as? [String: Any])?["storeError"] as? String)
    }

    /// Asks again until it holds; nil when it did not within the time.
    func until(_ run: String, seconds: Double = 180, _ condition: (Progress) throws -> Bool) throws -> Progress? {
        let end = Date(timeIntervalSinceNow: seconds)
        while Date() < end {
            if let now = try progress(run), try condition(now) { return now }
            usleep(50_000)
        }
        return nil
    }

    /// Waits until all of these are among the head's workers: a process that was started has not joined yet.
    func untilJoined(_ names: [String], seconds: Double = 180) throws {
        let end = Date(timeIntervalSinceNow: seconds)
        var listed = ""
        while Date() < end {
            listed = try amaf(["workers"])
            if names.allSatisfy(listed.contains) { return }
            usleep(50_000)
        }
        throw NSError(domain: "of \(names.joined(separator: ", ")) only these have joined: \(listed)", code: 1)
    }

    /// Standard output of a command that must succeed.
    @discardableResult
    func amaf(_ arguments: [String]) throws -> String {
        let (status, text) = try programs.run("amaf", arguments, environment: environment)
        guard status == 0 else { throw NSError(domain: "amaf \(arguments.joined(separator: " ")) ended with \(status): \(text)", code: 1) }
        return text
    }

    /// Submits diagnostic tasks and returns the run, once the head answers.
    func probe(_ arguments: [String]) throws -> String {
        let end = Date(timeIntervalSinceNow: 90)
        while true {
            do {
                return try amaf(["probe", "--no-wait"] + arguments).split(separator: "\n").last.map(String.init) ?? ""
            } catch {
                guard Date() < end else { throw error }
                usleep(100_000)
            }
        }
    }

    /// One line of the head's journal.
    struct Event: Decodable {
        struct Entry: Decodable {
            var what: String
            var stage: String?
            var worker: String?
            var detail: String?
        }
        var at: Int64
        var entry: Entry
    }

    /// What the journal holds of a run, or of the whole cluster, oldest first.
    func journal(_ run: String? = nil) throws -> [Event] {
        let lines = try amaf(["logs", "--json", "--lines", "10000"] + (run.map { ["--run", $0] } ?? [])).split(separator: "\n")
        return try lines.map { try JSONDecoder().decode(Event.self, from: Data($0.utf8)) }
    }

    func log(ofCoordinator number: Int = 0) -> String {
        (try? String(contentsOfFile: "\(programs.folder)/coordinator-\(port)-\(number).log", encoding: .utf8)) ?? ""
    }

    /// Waits until a share of the blocks is done, or the run has ended.
    func wait(_ run: String, share: Double, seconds: Double = 240) throws -> Progress? {
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
        let end = Date(timeIntervalSinceNow: 90)
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
        for worker in workers where worker.isRunning {
            kill(worker.processIdentifier, SIGKILL)
        }
        if coordinator.isRunning { kill(coordinator.processIdentifier, SIGKILL) }
        for process in workers + [coordinator] { process.waitUntilExit() }
    }
}
