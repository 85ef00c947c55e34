import ActiveLearning
import Aggregation
import ArgumentParser
import CoordinatorService
import Datasets
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WeakSupervision
import WireProtocol

struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Write the labels of a finished run on a cluster into a folder.")
    @Argument(help: "The run, as `amaf submit` printed it.")
    var runID: String
    @Option(name: .shortAndLong, help: "Folder to write.")
    var output: String
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var format: OutputOptions

    func run() throws {
        try reporting(json: format.json) {
            let connection = try cluster.connect()
            let status = try Submission.status(of: RunID(runID), over: connection)
            guard let run = status.snapshot.runs.first, run.state == .succeeded else {
                throw AMAFError(
                    "export.not-done", "Run \(runID) is \(status.snapshot.runs.first?.state.rawValue ?? "unknown")",
                    remedy: "Wait until `amaf status` shows it succeeded.")
            }
            guard case .results(let results) = try connection.ask(.result(RunID(runID), [Planner.export])) else {
                throw AMAFError.unexpectedReply("sent no results")
            }
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
            var files: [String] = []
            for file in results.first?.results.first?.outputs ?? [] {
                let path = "\(output)/\(file.name)"
                try Data(try connection.fetch(file.digest)).write(to: URL(fileURLWithPath: path), options: .atomic)
                files.append(path)
            }
            if format.json { try Console.json(["files": files]) } else { for file in files { Console.out(file) } }
        }
    }
}

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say who gave a sample its label, and why.",
        discussion:
            "Reads the folder of a finished `amaf run`: the votes, the label model, the classifier, the answers and how they were weighed.")
    @Argument(help: "The sample's id.")
    var sample: String
    @Option(name: .shortAndLong, help: "The run's folder.")
    var output: String
    @Option(help: "The pipeline file; by default the one that the run was started with.")
    var pipeline: String?
    @OptionGroup var format: OutputOptions

    func run() throws {
        try reporting(json: format.json) {
            LogBootstrap.start(level: .error)
            guard let path = pipeline ?? (try? String(contentsOfFile: "\(output)/state/pipeline.path", encoding: .utf8)) else {
                throw AMAFError(
                    "explain.no-run", "There is no run in this folder", place: output, remedy: "Give --output as at `amaf run`.")
            }
            let preparation = try Preparation(pipeline: path, scratch: "\(output)/state/data")
            let cluster = try LocalCluster(store: "\(output)/state/store", settings: SchedulerSettings())
            defer { cluster.stop() }
            guard preparation.index.labelSet == nil else {
                let explanation = try LabelSetExplanation(of: sample, preparation: preparation, connection: cluster.connection)
                if format.json { try Console.json(explanation) } else { for line in explanation.lines { Console.out(line) } }
                return
            }
            let explanation = try SampleExplanation(of: sample, preparation: preparation, connection: cluster.connection)
            if format.json { try Console.json(explanation) } else { for line in explanation.lines { Console.out(line) } }
        }
    }
}

/// Everything that went into one final label, for the first arm of the run.
struct SampleExplanation: Encodable {
    struct Vote: Encodable {
        var function: String
        var label: String
        var logOdds: Double
    }
    struct Candidate: Encodable {
        var label: String
        var probability: Double
    }
    var id: String
    var text: String
    var label: String?
    var confidence: Double
    var sources: [String]
    var answers: [String]
    var votes: [Vote]
    var labelModel: [Candidate]
    var classifier: [Candidate]
    var weights: [String: Double]

    init(of sample: String, preparation: Preparation, connection: CoordinatorConnection) throws {
        let (index, plan) = (preparation.index, preparation.plan)
        guard let arm = preparation.annotation.arms.first else {
            throw AMAFError("explain.no-arm", "The run has no arm", remedy: "Export a run of 'amaf run' or 'amaf submit'.")
        }
        func artifact(_ stage: String, _ name: String, block: Int) throws -> [UInt8]? {
            guard plan.stages.contains(where: { $0.id.rawValue == stage }) else { return nil }
            guard case .results(let results) = try connection.ask(.result(plan.id, [StageID(stage)])),
                let output = results.first?.results.first(where: { $0.block == block })?.outputs.first(where: { $0.name == name })
            else { throw AMAFError("explain.not-done", "Stage \(stage) is not done", remedy: "Finish the run with `amaf run` first.") }
            return try connection.fetch(output.digest)
        }
        var found: (block: Int, position: Int, sample: Sample)?
        for block in 0..<index.plan.blockCount where found == nil {
            guard let bytes = try artifact("ingest", "samples", block: block) else { continue }
            let samples = try SampleBlock(decoding: bytes)
            if let row = samples.samples.firstIndex(where: { $0.id == sample }) {
                found = (block, samples.firstPosition + row, samples.samples[row])
            }
        }
        guard let found else {
            throw AMAFError("explain.no-sample", "The data set has no sample '\(sample)'", remedy: "Ids are in labels.csv.")
        }
        id = found.sample.id
        text = found.sample.text
        let names = index.classNames
        guard let labels = try artifact("\(arm.name)/aggregate", "labels", block: found.block),
            let final = try FinalLabelCodec.decode(labels).first(where: { $0.position == found.position })
        else { throw AMAFError("explain.not-done", "The sample has no final label", remedy: "Finish the run with `amaf run` first.") }
        label = final.label.map { names[$0] }
        confidence = Double(final.confidence)
        sources = final.sources.names
        answers = []
        for round in arm.totals.indices {
            guard let bytes = try artifact(Planner.review(of: arm, round: round).rawValue, "answers", block: 0) else { continue }
            let block = try AnswerBlock(decoding: bytes)
            answers += block.answers.filter { $0.position == found.position }.map { "\(names[$0.label]) (round \(round))" }
        }
        votes = []
        labelModel = []
        if let bytes = try artifact("apply-labeling-functions", "votes", block: found.block),
            let modelBytes = try artifact("fit-label-model", "model", block: 0)
        {
            let block = try VoteBlock(decoding: bytes)
            let model = try FittedLabelModel(decoding: modelBytes)
            let rows = VoteRows(block, functions: model.functions)
            let row = found.position - block.firstSample
            let posterior = model.posteriors(of: rows)[row]
            if posterior.isCovered {
                labelModel = posterior.entries.prefix(3).map { Candidate(label: names[$0.classIndex], probability: Double($0.probability)) }
                let first = posterior.entries.first?.classIndex ?? 0
                let second = posterior.entries.dropFirst().first?.classIndex ?? (first == 0 ? 1 : 0)
                for contribution in model.contributions(of: rows.votes(row: row), for: first, against: second) {
                    guard case .vote(let vote) = contribution.source else { continue }
                    votes.append(
                        Vote(function: model.functions[vote.function].name, label: names[vote.classIndex], logOdds: contribution.logOdds))
                }
            }
        }
        classifier = []
        let last = arm.totals.count < 10 ? "0\(arm.totals.count)" : "\(arm.totals.count)"
        if let bytes = try artifact("\(arm.name)/round-\(last)/score-uncertainty", "scores", block: found.block) {
            classifier = try Self.candidates(bytes, position: found.position, names: names)
        }
        weights = [:]
        if let bytes = try artifact("\(arm.name)/fit-aggregation", "pool", block: 0) {
            let pool = try OpinionPool(encoded: bytes)
            for (source, weight) in zip(pool.sources, pool.weights) { weights[source.name] = weight }
        }
    }

    private static func candidates(_ bytes: [UInt8], position: Int, names: [String]) throws -> [Candidate] {
        let block = try ScoreBlock(decoding: bytes)
        let score = block.scores[position - block.firstPosition]
        return [
            Candidate(label: names[Int(score.top)], probability: Double(score.topProbability)),
            Candidate(label: names[Int(score.second)], probability: Double(score.secondProbability)),
        ]
    }

    var lines: [String] {
        var lines = [
            "\(id): \(text)",
            "  label: \(label ?? "none"), confidence \(Text.fixed(confidence, 4)), from \(sources.joined(separator: " and "))",
        ]
        for answer in answers { lines.append("  answered by people: \(answer)") }
        if !classifier.isEmpty {
            lines.append("  classifier: " + classifier.map { "\($0.label) \(Text.fixed($0.probability, 4))" }.joined(separator: ", "))
        }
        if !labelModel.isEmpty {
            lines.append("  label model: " + labelModel.map { "\($0.label) \(Text.fixed($0.probability, 4))" }.joined(separator: ", "))
        }
        for vote in votes {
            lines.append("    \(vote.function) voted \(vote.label): \(vote.logOdds >= 0 ? "+" : "")\(Text.fixed(vote.logOdds, 3)) log-odds")
        }
        if votes.isEmpty { lines.append("  no labeling function voted") }
        if !weights.isEmpty {
            lines.append(
                "  weights: " + weights.sorted { $0.key < $1.key }.map { "\($0.key) \(Text.fixed($0.value, 3))" }.joined(separator: ", "))
        }
        return lines
    }
}
