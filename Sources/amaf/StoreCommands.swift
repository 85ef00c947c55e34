import ArgumentParser
import Foundation
import Messaging
import Primitives
import Scheduling
import Storage
import WireProtocol

/// `amaf gc`: what a store keeps.
struct CollectGarbage: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc", abstract: "Remove old runs from a store, and the artifacts that only they needed.",
        discussion: """
            The store's coordinator must be stopped (a running one is refused, by its lock). Runs that have not ended are always kept, and so are \
            people's answers and whatever a kept run or its cached results need. With both rules a run goes when neither keeps it.
            """)
    @Option(help: "Folder of the store.")
    var store: String
    @Option(help: "Keep so many of the newest runs that have ended.")
    var keep: Int?
    @Option(help: "Keep runs submitted within so many days.")
    var olderThan: Double?
    @Flag(help: "Say what would go and remove nothing.")
    var dryRun = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard keep != nil || olderThan != nil else { throw ValidationError("give --keep RUNS, --older-than DAYS, or both") }
        guard keep ?? 0 >= 0, olderThan ?? 0 >= 0, (olderThan ?? 0) < 1e6 else {
            throw ValidationError("--keep and --older-than count from 0")
        }
    }

    func run() throws {
        try reporting(json: output.json) {
            guard FileManager.default.fileExists(atPath: store + "/" + Store.databaseName) else {
                throw AMAFError("store.missing", "There is no store in this folder", place: store, remedy: "Name the coordinator's folder.")
            }
            let opened = try Store(folder: store)
            let report = try opened.collect(
                RetentionPolicy(keptRuns: keep, keptAge: olderThan.map { Int64($0 * 86_400_000) }), dryRun: dryRun)
            try opened.close()
            if output.json { return try Console.json(report) }
            let verb = dryRun ? "would remove" : "removed"
            Console.out(
                "\(verb) \(Text.count(report.removedRuns.count)) runs with \(Text.count(report.removedTasks)) tasks, "
                    + "\(Text.count(report.removedCachedResults)) cached results, \(Text.count(report.removedRows + report.removedFiles)) artifacts "
                    + "and \(Text.count(report.removedUploads)) given-up uploads: \(Text.bytes(report.removedBytes))")
            for run in report.removedRuns { Console.out("  \(run)") }
            Console.out(
                "kept \(Text.count(report.keptRuns)) runs, \(Text.count(report.keptCachedResults)) cached results, "
                    + "\(Text.count(report.keptArtifacts)) artifacts")
        }
    }
}

/// `amaf logs`: what happens on the cluster, from the coordinator's history.
struct Logs: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what happened on the cluster, and with -f what happens.",
        discussion: "Events come from the coordinator's history, read beside the scheduler, never through it.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Flag(name: .shortAndLong, help: "Go on until stopped.")
    var follow = false
    @Option(name: .shortAndLong, help: "Begin with the last so many events.")
    var lines = 50
    @Option(name: .customLong("run"), help: "Only this run.")
    var runID: String?
    @Option(help: "Only this stage.")
    var stage: String?
    @Option(help: "Only this worker.")
    var worker: String?

    func validate() throws {
        guard (0...WireLimits.historyPage).contains(lines) else {
            throw ValidationError("--lines must be between 0 and \(WireLimits.historyPage)")
        }
    }

    private func query(after: Int, limit: Int, newestFirst: Bool) -> Request {
        .history(
            HistoryQuery(
                run: runID.map { RunID($0) }, stage: stage.map { StageID($0) }, worker: worker.map { WorkerID($0) }, after: after,
                limit: limit, newestFirst: newestFirst))
    }

    func run() throws {
        try reporting(json: output.json) {
            var connection = try cluster.connect()
            // With no lines wanted the last event still says where to begin.
            let first = try connection.document([StoredHistoryEntry].self, query(after: 0, limit: max(1, lines), newestFirst: true))
            for event in first.prefix(lines).reversed() { try show(event) }
            var last = first.first?.id ?? 0
            while follow {
                usleep(300_000)
                do {
                    let events = try connection.document(
                        [StoredHistoryEntry].self, query(after: Int(last), limit: WireLimits.historyPage, newestFirst: false))
                    for event in events { try show(event) }
                    last = events.last?.id ?? last
                } catch let error as AMAFError where error.isTransient || error.code == "cli.unexpected-reply" {
                    // A head that restarts: its store, and so its numbers, go on.
                    Console.note("amaf: \(error.message); trying again")
                    sleep(1)
                    if let again = try? cluster.connect() { connection = again }
                }
            }
        }
    }

    private func show(_ event: StoredHistoryEntry) throws {
        if output.json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return Console.out(String(decoding: try encoder.encode(event), as: UTF8.self))
        }
        var parts = [Self.time(event.at), event.entry.what]
        if let run = event.entry.run { parts.append("run=\(run)") }
        if let stage = event.entry.stage { parts.append("stage=\(stage)") }
        if let blocks = event.entry.blocks {
            parts.append(blocks.count == 1 ? "block=\(blocks.lowerBound)" : "blocks=\(blocks.lowerBound)..<\(blocks.upperBound)")
        }
        if let worker = event.entry.worker { parts.append("worker=\(worker)") }
        if let fence = event.entry.fence { parts.append("fence=\(fence)") }
        if !event.entry.detail.isEmpty { parts.append(event.entry.detail) }
        Console.out(parts.joined(separator: " "))
    }

    /// Local time of day with milliseconds.
    static func time(_ milliseconds: Int64) -> String {
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let rest = Int(milliseconds % 1000)
        return
            "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
            + ".\(String(repeating: "0", count: 3 - String(rest).count))\(rest)"
    }
}
