import ArgumentParser
import Augmentation
import Datasets
import Foundation
import Logging
import Models
import Primitives
import Scheduling
import Stages
import Telemetry

struct Augment: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make synthetic samples (DSDA), judge them, and measure whether they reduce bias.",
        discussion: """
            'images' trains a VAE on a cluster of worker processes, draws samples and admits or refuses them; 'audit' measures on a long tail \
            whether they help, against no augmentation and plain oversampling; 'texts' does both for paraphrases. Image files are IDX, plain or \
            gzipped.
            """,
        subcommands: [AugmentImages.self, AugmentAudit.self, AugmentTexts.self])
}

extension VAETraining.Mode: ExpressibleByArgument {}
extension SynthesisMethod: ExpressibleByArgument {}

/// Image files and what is common to commands that learn from them.
struct ImageFiles: ParsableArguments {
    @Option(help: "Training images (IDX).") var images: String
    @Option(help: "Their labels (IDX).") var labels: String
    @Option(help: "Test images (IDX); only measured on.") var testImages: String?
    @Option(help: "Their labels (IDX).") var testLabels: String?
    @Option(help: "Comma-separated names of the classes, in the order of their numbers.") var classNames: String?

    struct Loaded {
        var images: IDXFile
        var labels: IDXFile
        var test: (images: IDXFile, labels: IDXFile)?
        var classNames: [String]
        var height: Int { images.shape[1] }
        var width: Int { images.shape[2] }
    }

    func load() throws -> Loaded {
        let (images, labels) = try Self.pair(images, labels)
        let test = try testImages.map { path in
            guard let testLabels else {
                throw AMAFError("cli.no-labels", "--test-images comes without --test-labels", remedy: "Give both or neither.")
            }
            return try Self.pair(path, testLabels)
        }
        if let test, test.images.shape.dropFirst() != images.shape.dropFirst() {
            throw AMAFError(
                "cli.image-sizes", "Training images are \(images.shape), test images \(test.images.shape)",
                remedy: "Give test images of the training images' size.")
        }
        let highest = Int((labels.values + (test?.labels.values ?? [])).max() ?? 0)
        let names = classNames.map { $0.split(separator: ",").map(String.init) } ?? (0...max(1, highest)).map { "class-\($0)" }
        guard names.count > highest, names.count >= 2 else {
            throw AMAFError("cli.class-names", "Label \(highest) has no name; there are \(names.count)", remedy: "Name every class.")
        }
        return Loaded(images: images, labels: labels, test: test, classNames: names)
    }

    private static func pair(_ images: String, _ labels: String) throws -> (images: IDXFile, labels: IDXFile) {
        let pair = (try IDXFile(contentsOf: images), try IDXFile(contentsOf: labels))
        guard pair.0.shape.count == 3, pair.1.shape == [pair.0.count] else {
            throw AMAFError(
                "cli.image-files", "Images of shape \(pair.0.shape) with labels of shape \(pair.1.shape)", place: images,
                remedy: "Give grey images (count × height × width) and one label for each.")
        }
        return pair
    }
}

struct AugmentImages: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "Train a VAE on the cluster, synthesise, admit, and write the samples with a picture sheet.",
        discussion: """
            Writes vae.safetensors, loss-curve.csv, synthetic-images-idx3-ubyte and -labels-idx1-ubyte (admitted samples only), origins.csv \
            (method and parents), admission.json, sheet.png and report.md into --output. A tenth of the images is held out of training, to tell \
            copies from samples.
            """)

    @OptionGroup var files: ImageFiles
    @Option(help: "How samples are made: class-posterior, jitter, interpolation, prior, rotation.")
    var method: [SynthesisMethod] = [.classPosterior]
    @Option(help: "Samples, shared evenly by classes and methods; 0 fills rare classes up to the largest.") var samples = 0
    @Option(help: "Synthetic samples of a class for each real one, at most.") var maximumRatio = 25.0
    @Option(help: "Degrees that images may be turned by, both ways; never mirrored.") var rotation = 15.0
    @Option(help: "Share of the images that nothing is trained on.") var heldOut = 0.1
    @Option(help: "Whether replicas average slopes every step or weights every round.") var mode: VAETraining.Mode = .synchronous
    @Option(help: "Replicas that share each step; part of the result, unlike the number of workers.") var replicas = 2
    @Option(help: "Images of a step, all replicas together.") var batch = 256
    @Option(help: "Adam's learning rate.") var learningRate: Float = 2e-3
    @Option(help: "Passes over the images.") var epochs = 5
    @Option(help: "Steps between checkpoints; in local mode steps between averages.") var stepsPerRound = 16
    @Option(help: "Latent dimensions.") var latent = 128
    @Option(help: "Hidden width of encoder and decoder.") var hidden = 400
    @Option(help: "β, the weight of the divergence.") var beta: Float = 0.5
    @Flag(help: "Train the VAE without the classes.") var unconditional = false
    @Flag(help: "Only train; no samples.") var trainOnly = false
    @Option(help: "Seed.") var seed: UInt64 = 1
    @Option(help: "Worker processes to start.") var workers = 2
    @Option(help: "Tags of the workers.") var tags = "cpu"
    @Option(help: "Tag of workers that training is offered to first.") var prefers: String?
    @Option(name: .shortAndLong, help: "Folder for results.") var output = "amaf-output/augment"
    @Flag(help: "No progress display.") var quiet = false

    func run() throws {
        try reporting(json: false) {
            guard workers >= 1 else { throw AMAFError("cli.workers", "\(workers) workers cannot do anything", remedy: "Give 1 or more.") }
            LogBootstrap.start(level: .warning)
            let loaded = try files.load()
            let (rows, held) = try Self.split(loaded, heldOut: trainOnly ? 0 : heldOut, seed: seed)
            let classes = loaded.classNames.count
            let training = VAETraining(
                network: .init(
                    height: loaded.height, width: loaded.width, architecture: .dense(hidden: [hidden]), latent: latent, beta: beta,
                    classes: unconditional ? 0 : classes),
                mode: mode, replicas: replicas, batch: batch, learningRate: learningRate, epochs: epochs, stepsPerRound: stepsPerRound,
                images: rows.count, seed: seed)
            var uploads = [loaded.images.encode(), loaded.labels.encode()]
            var artifacts = AugmentationArtifacts(images: Digest.of(uploads[0]), labels: Digest.of(uploads[1]))
            func upload(_ bytes: [UInt8]) -> Digest {
                uploads.append(bytes)
                return Digest.of(bytes)
            }
            if !held.isEmpty {
                artifacts.positions = upload(RowNumbers.encode(rows))
                artifacts.heldOut = upload(RowNumbers.encode(held))
            }
            if let test = loaded.test {
                artifacts.testImages = upload(test.images.encode())
                artifacts.testLabels = upload(test.labels.encode())
            }
            var builder = AugmentationPlan(
                artifacts, placement: prefers.map { StagePlacement(prefers: $0) } ?? StagePlacement())
            let checkpoint = try builder.train(training)
            if !trainOnly { try synthesize(&builder, training, loaded, rows: rows, from: checkpoint) }
            let plan = builder.run(named: "augment-images")
            if !quiet {
                Console.note(
                    "\(Text.count(rows.count)) images, \(Text.count(held.count)) held out; \(Text.count(plan.stages.count)) stages, run \(plan.id)"
                )
            }
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
            let run = AugmentRun(plan: plan, uploads: uploads, folder: output, workers: workers, tags: tags, quiet: quiet)
            try run.carryOut(results: [checkpoint] + (trainOnly ? [] : [AugmentationPlan.admission])) { finished in
                try write(finished, checkpoint: checkpoint, training: training)
            }
        }
    }

    /// Rows to train on and rows held out, both ascending; every class gives its share.
    static func split(_ loaded: ImageFiles.Loaded, heldOut: Double, seed: UInt64) throws -> (rows: [Int], held: [Int]) {
        guard heldOut >= 0, heldOut < 0.9 else {
            throw AMAFError("cli.held-out", "A share of \(heldOut) is held out", remedy: "Give a share from 0 to 0.9.")
        }
        var held: Set<Int> = []
        for label in loaded.classNames.indices {
            var members = loaded.labels.values.indices.filter { Int(loaded.labels.values[$0]) == label }
            var generator = SeededGenerator(seed: seed, stream: "augment", "held-out", String(label))
            generator.shuffle(&members)
            held.formUnion(members.prefix(Int(Double(members.count) * heldOut)))
        }
        return (loaded.labels.values.indices.filter { !held.contains($0) }, held.sorted())
    }

    private func synthesize(
        _ builder: inout AugmentationPlan, _ training: VAETraining, _ loaded: ImageFiles.Loaded, rows: [Int], from checkpoint: StageID
    ) throws {
        let classes = loaded.classNames.count
        var counts = [Int](repeating: 0, count: classes)
        for row in rows { counts[Int(loaded.labels.values[row])] += 1 }
        guard counts.contains(where: { $0 > 1 }) else {
            throw AMAFError("augmentation.no-classes", "No class has two labelled images", remedy: "Give labels, or --train-only.")
        }
        let allotment: SynthesisAllotment
        if samples > 0 {
            let parts = method.flatMap { method in (0..<classes).filter { counts[$0] > 1 }.map { (method, $0) } }
            allotment = SynthesisAllotment(
                parts.enumerated().map { i, part in
                    .init(label: part.1, method: part.0, count: samples / parts.count + (i < samples % parts.count ? 1 : 0))
                })
        } else {
            allotment = .balancing(counts, methods: method, maximumRatio: maximumRatio)
        }
        var policy = AdmissionPolicy()
        policy.maximumRatio = maximumRatio
        builder.synthesize(
            SynthesisParameters(
                network: training.network, allotment: allotment, rotation: RotationRules(standard: .init(maximumDegrees: rotation)),
                classes: classes, seed: seed), images: rows.count, from: checkpoint,
            judge: .standard(pixels: training.network.pixels, classes: classes, seed: seed), policy: policy)
    }

    private func write(_ finished: AugmentRun.Finished, checkpoint: StageID, training: VAETraining) throws {
        let weights = try finished.bytes("checkpoint", of: checkpoint)
        try AugmentRun.write(weights, "\(output)/vae.safetensors")
        let points = LossCurve.points(finished.run)
        try AugmentRun.write(Array(LossCurve.csv(points).utf8), "\(output)/loss-curve.csv")
        var report = "# Augmentation\n\n"
        report += "VAE: \(training.mode.rawValue), \(training.replicas) replicas, batches of \(training.batch), \(training.epochs) epochs, "
        report += "seed \(training.seed); weights SHA-256 \(Digest.of(weights).hex)\n\n"
        if let line = LossCurve.line(finished.run) { report += "Loss: \(line)\n\n" }
        for point in points where point.testLoss != nil {
            report += "- epoch \(point.epoch): test loss \(Text.fixed(point.testLoss ?? 0, 2))\n"
        }
        if !trainOnly {
            let admission = try finished.document([AdmissionReport].self, "admission", of: AugmentationPlan.admission)
            for (name, file) in [
                ("admission", "admission.json"), ("images", "synthetic-images-idx3-ubyte"), ("labels", "synthetic-labels-idx1-ubyte"),
                ("origins.csv", "origins.csv"), ("sheet.png", "sheet.png"),
            ] { try AugmentRun.write(try finished.bytes(name, of: AugmentationPlan.admission), "\(output)/\(file)") }
            report += "\n" + AdmissionText.table(admission)
        }
        report += "\n```\n\(AugmentRun.timings(finished))\n```\n"
        try AugmentRun.write(Array(report.utf8), "\(output)/report.md")
        Console.out(report)
        Console.out("written to \(output)")
    }
}

/// Verdicts for people.
enum AdmissionText {
    static func table(_ reports: [AdmissionReport]) -> String {
        var out =
            "| method | offered | kept | Fréchet (floor) | precision | recall | density | coverage | two-sample | label consistency | memorisation | verdict |\n"
        out += "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        for r in reports {
            let n = r.neighbours
            let shares = [n.precision, n.recall, n.density, n.coverage].map { Text.fixed($0, 3) }.joined(separator: " | ")
            out +=
                "| \(r.method) | \(r.offered) | \(r.kept) | \(Text.fixed(r.frechet, 2)) (\(Text.fixed(r.frechetFloor, 2))) | \(shares) | "
            out += "\(Text.fixed(r.twoSample.accuracy, 3)), p \(Text.fixed(r.twoSample.p, 4)) | \(Text.fixed(r.labelConsistency, 3)) | "
            out +=
                "\(Text.fixed(r.memorisation.ratio, 2)) | \(r.isAdmitted ? "admitted" : "refused: \(r.reasons.joined(separator: "; "))") |\n"
        }
        return out
    }
}
