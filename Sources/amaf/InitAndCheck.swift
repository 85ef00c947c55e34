import ArgumentParser
import Datasets
import Foundation
import Manifests
import Primitives
import Scheduling
import Stages
import Telemetry

struct Init: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a commented pipeline for your own data.",
        discussion: "Looks at a folder of texts or pictures, a CSV, JSONL or .npz file and writes a pipeline file to start from.")
    @Argument(help: "Folder, or CSV, JSONL, text or .npz file.")
    var data: String
    @Option(name: .shortAndLong, help: "The pipeline file to write.")
    var output: String?
    @Option(help: "Class names, separated by commas.")
    var classes: String?
    @Flag(help: "Overwrite an existing file.")
    var force = false
    @OptionGroup var format: OutputOptions

    func run() throws {
        try reporting(json: format.json) {
            let name = URL(fileURLWithPath: data).deletingPathExtension().lastPathComponent
            let path = output ?? "\(name).yaml"
            guard force || !FileManager.default.fileExists(atPath: path) else {
                throw AMAFError("init.exists", "The file is there already", place: path, remedy: "Give --output or --force.")
            }
            let names = classes.map { $0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty } }
            let text = try PipelineTemplate.text(for: data, classes: names, at: path)
            do {
                try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
            } catch {
                throw AMAFError(
                    "cli.cannot-write", "Cannot write the pipeline: \(error.localizedDescription)", place: path,
                    remedy: "Check the folder's permissions, or name another file with --output.")
            }
            if format.json { try Console.json(["pipeline": path]) } else { Console.out("wrote \(path); next: amaf check \(path)") }
        }
    }
}

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Validate a pipeline and its data before anything runs.",
        discussion: "Reads every file that the run would read, compiles the labeling functions, looks at the disk and estimates the time.")
    @Argument(help: "The pipeline file.")
    var pipeline: String
    @Option(help: "Worker processes to estimate for.")
    var workers: Int = 2
    @OptionGroup var format: OutputOptions

    private struct Findings: Encodable {
        var pipeline: String
        var run: String
        var samples: Int
        var testSamples: Int
        var classes: Int
        var labelledSamples: Int
        var quarantinedRows: Int
        var labelingFunctions: Int
        var stages: Int
        var blockTasks: Int
        var arms: Int
        var budget: Int
        var review: String
        var estimatedSeconds: Double
        var estimatedDiskBytes: Int
        var freeDiskBytes: Int
        var warnings: [String]
    }

    func run() throws {
        try reporting(json: format.json) {
            let scratch = NSTemporaryDirectory() + "amaf-check-\(getpid())"
            defer { try? FileManager.default.removeItem(atPath: scratch) }
            let preparation = try Preparation(pipeline: pipeline, scratch: scratch)
            let annotation = preparation.annotation
            var warnings: [String] = []
            if annotation.quarantinedRows > 0 {
                warnings.append(
                    "\(annotation.quarantinedRows) rows will be quarantined, first: \(preparation.index.quarantineExamples.first.map { "\($0.error)" } ?? "")"
                )
            }
            for arm in annotation.arms where arm.totals.last ?? 0 > preparation.index.samples - annotation.quarantinedRows {
                warnings.append("the budget of \(arm.totals.last ?? 0) answers is more than there are samples")
                break
            }
            if annotation.functionNames.isEmpty && annotation.reviewMode == "none" {
                throw AMAFError(
                    "pipeline.no-source", "The pipeline has neither labeling functions nor reviewers: nothing could label a sample",
                    place: pipeline,
                    remedy: "Name a labeling-functions file or set review.")
            }
            // Measured on two cores: feature rows, and rows trained or scored, per second and slot, at 150 classes.
            let scored = annotation.arms.reduce(0.0) { $0 + Double(max(1, $1.totals.count) * annotation.samples) }
            let trained = annotation.arms.reduce(0.0) { $0 + Double($1.totals.reduce(0, +) * preparation.manifest.classifier.epochs) }
            let perClass = Double(annotation.classNames.count) / 150
            let generator = Self.training(preparation)
            let seconds =
                (Double(annotation.samples) / 60_000 + (scored / 100_000 + trained / 50_000) * perClass + generator.seconds)
                / Double(max(1, workers)) + 2
            let disk =
                annotation.samples * 1200 + annotation.arms.reduce(0) { $0 + $1.totals.count } * annotation.classNames.count * 60_000
                + generator.bytes
            let free = FreeDisk.bytes(at: ".")
            if free < disk * 2 { warnings.append("the disk has \(free >> 20) MiB free and the run may need \(disk >> 20) MiB") }
            let findings = Findings(
                pipeline: pipeline, run: preparation.plan.id.rawValue, samples: annotation.samples, testSamples: annotation.testSamples,
                classes: annotation.classNames.count, labelledSamples: preparation.index.labelledRows,
                quarantinedRows: annotation.quarantinedRows,
                labelingFunctions: annotation.functionNames.count, stages: preparation.plan.stages.count,
                blockTasks: preparation.plan.stages.reduce(0) { $0 + $1.blocks }, arms: annotation.arms.count, budget: annotation.budget,
                review: annotation.reviewMode, estimatedSeconds: seconds, estimatedDiskBytes: disk, freeDiskBytes: free, warnings: warnings)
            if format.json { return try Console.json(findings) }
            Console.out("\(pipeline): ok")
            Console.out(
                "  \(Text.count(findings.samples)) samples (\(Text.count(findings.labelledSamples)) with gold), \(findings.classes) classes, \(Text.count(findings.testSamples)) test samples"
            )
            Console.out(
                "  \(findings.labelingFunctions) labeling functions; review: \(findings.review), \(Text.count(findings.budget)) answers; \(findings.arms) arms"
            )
            Console.out(
                "  \(findings.stages) stages, \(Text.count(findings.blockTasks)) block tasks; about \(Text.seconds(seconds)) with \(workers) workers, \(disk >> 20) MiB of disk (\(free >> 20) MiB free)"
            )
            for warning in warnings { Console.out("  warning: \(warning)") }
        }
    }
}

extension Check {
    /// What training a VAE and making samples of it will cost, in seconds of one slot and in bytes of the store: the paper's network of
    /// 780,000 weights sees 3,400 images a second, each judge takes four seconds; weights, slopes and both moments as the stages write them.
    fileprivate static func training(_ preparation: Preparation) -> (seconds: Double, bytes: Int) {
        let settings = preparation.manifest.vae
        let side = preparation.manifest.features.images.side
        let weights = 2 * side * side * settings.hidden + 3 * settings.hidden * settings.latent
        var (seconds, tensors) = (0.0, 0)
        for stage in preparation.plan.stages {
            switch stage.kind {
            case VAESlopesStage.kind: tensors += stage.blocks
            case VAELocalStepsStage.kind, AverageVAEStage.kind: tensors += 3 * stage.blocks
            case PackPicturesStage.kind: seconds += Double(preparation.annotation.samples * settings.epochs) * Double(weights) / 2.66e9
            case TrainJudgeStage.kind: seconds += 4
            default: break
            }
        }
        return (seconds, tensors * weights * 4)
    }
}

enum FreeDisk {
    static func bytes(at path: String) -> Int {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else { return .max }
        return Int(info.f_bavail) * Int(info.f_frsize)
    }
}
