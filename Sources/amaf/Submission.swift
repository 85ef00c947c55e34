import ArgumentParser
import CoordinatorService
import Datasets
import Foundation
import Messaging
import Primitives
import Scheduling
import Telemetry
import WireProtocol

/// Handing a plan to a coordinator, and asking how it goes.
enum Submission {
    static func submit(_ plan: RunPlan, artifacts: [Digest], over connection: CoordinatorConnection) throws {
        let bytes = try JSONText.encode(plan)
        let source: PlanSource
        if bytes.count < WireLimits.controlRequest / 2 {
            source = .inline(bytes)
        } else {
            let digest = Digest.of(bytes)
            try connection.store(digest, bytes: bytes)
            source = .artifact(digest)
        }
        guard case .submitted = try connection.ask(.submit(source, artifacts: artifacts)) else {
            throw AMAFError.unexpectedReply("did not say that it took the run")
        }
    }

    static func status(of run: RunID, over connection: CoordinatorConnection) throws -> StatusDocument {
        try connection.document(StatusDocument.self, .status(run))
    }
}

struct Submit: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Hand a pipeline to a running cluster and return at once.")
    @Argument(help: "The pipeline file.")
    var pipeline: String
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "Folder for unpacked data.")
    var scratch: String = ".amaf/data"

    func run() throws {
        try reporting(json: output.json) {
            let preparation = try Preparation(pipeline: pipeline, scratch: scratch)
            let connection = try cluster.connect()
            for upload in preparation.uploads {
                if let path = upload.path {
                    try connection.store(upload.digest, file: path)
                } else {
                    try connection.store(upload.digest, bytes: upload.bytes)
                }
            }
            try Submission.submit(preparation.plan, artifacts: preparation.uploads.map(\.digest), over: connection)
            if output.json {
                Console.out("{\"run\":\"\(preparation.plan.id)\"}")
            } else {
                Console.out("\(preparation.plan.id)")
            }
        }
    }
}

/// Peak memory and CPU time of the processes of a local cluster, read from /proc while they live.
final class ProcessWatch {
    private let agents: [pid_t]
    private var peaks: [String: (memory: Int, cpu: Double)] = [:]

    init(_ agents: [pid_t]) { self.agents = agents }

    func sample() {
        note("coordinator and this command", nil)
        for (number, agent) in agents.enumerated() {
            note("worker-\(number + 1) agent", agent)
            for child in children(of: agent) { note("worker-\(number + 1) slot", child) }
        }
    }

    private func note(_ name: String, _ process: pid_t?) {
        guard let usage = ProcessUsage.current(of: process) else { return }
        let old = peaks[name] ?? (0, 0)
        peaks[name] = (max(old.memory, usage.peakResidentBytes), max(old.cpu, usage.cpuSeconds))
    }

    private func children(of process: pid_t) -> [pid_t] {
        let text = (try? String(contentsOfFile: "/proc/\(process)/task/\(process)/children", encoding: .utf8)) ?? ""
        return text.split(separator: " ").compactMap { pid_t($0) }
    }

    /// By name.
    func report() -> [(name: String, peakMemoryBytes: UInt64, cpuSeconds: Double)] {
        peaks.sorted { $0.key < $1.key }.map { ($0.key, UInt64($0.value.memory), $0.value.cpu) }
    }
}

extension CoordinatorConnection {
    /// Stores a file's bytes; its digest was taken when the data set was indexed.
    func store(_ digest: Digest, file path: String) throws(AMAFError) {
        let file = try MappedFile(path)
        let result: Result<Void, AMAFError> = file.withBytes { bytes in
            do throws(AMAFError) {
                return .success(try store(digest, bytes))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }
}
