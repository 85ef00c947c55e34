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
        // Copied by a process of its own: a child that another test starts meanwhile would inherit a file that we were writing, and
        // until it is gone the copy cannot be started ("text file busy").
        let copy = Process()
        copy.executableURL = URL(fileURLWithPath: "/bin/cp")
        copy.arguments = ["amaf", "amaf-coordinator", "amaf-worker"].map { "\(built)/\($0)" } + [bin]
        try copy.run()
        copy.waitUntilExit()
        guard copy.terminationStatus == 0 else { throw NSError(domain: "the programs in \(built) cannot be copied", code: 1) }
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

    /// Whether the tests that take minutes are wanted.
    static var isLong: Bool { ProcessInfo.processInfo.environment["AMAF_LONG_TESTS"] == "1" }

    /// A pipeline on generated data, small blocks so that there is much to schedule.
    func pipeline(samples: Int, blockSize: Int = 64, extra: String = "", in place: String? = nil) throws -> String {
        let place = place ?? folder
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        let path = "\(place)/job.yaml"
        let text = """
            name: process-test
            dataset:
              generate: {samples: \(samples), classes: 10, seed: 3}
            block-size: \(blockSize)
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
