package import Augmentation
import Datasets
import Kernels
package import Models
import NeuralNetworks
import Primitives

/// A long tail drawn from a balanced set, and what is tried on it.
package struct AuditParameters: Codable, Hashable, Sendable {
    package var network: VAE.Configuration
    package var classNames: [String]
    package var tailClasses: [Int]
    package var headCount: Int
    package var tailCount: Int
    package var seeds: [UInt64]
    package var arms: [String]
    package var vaeSteps: Int
    package var classifierSteps: Int
    package var rotation: RotationRules

    package init(
        network: VAE.Configuration, classNames: [String], tailClasses: [Int], headCount: Int = 500, tailCount: Int = 20, seeds: [UInt64],
        arms: [String] = AuditParameters.standardArms, vaeSteps: Int = 2000, classifierSteps: Int = 2500,
        rotation: RotationRules = RotationRules()
    ) {
        self.network = network
        self.classNames = classNames
        self.tailClasses = tailClasses
        self.headCount = headCount
        self.tailCount = tailCount
        self.seeds = seeds
        self.arms = arms
        self.vaeSteps = vaeSteps
        self.classifierSteps = classifierSteps
        self.rotation = rotation
    }

    /// Methods joined by `+` share the missing samples evenly.
    package static let standardArms = [
        "none", "oversampling", "rotation", "prior", "class-posterior", "jitter", "interpolation", "interpolation+rotation",
    ]
}

/// `audit-augmentation`: a block is a seed: it draws a long tail, trains a conditional VAE on it alone, fills the tail up in each
/// arm's way, trains the same classifier with the same number of steps, and scores it on the test images.
///
/// - Inputs: `images`, `labels`, `test-images`, `test-labels`. Outputs: `arms` (JSON, `[AuditedArm]`), `sheet.png`.
package struct AuditAugmentationStage: StageExecutor {
    package static let kind = "audit-augmentation"
    package static let codeVersion = 2
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: AuditParameters.self)
        let (images, labels) = (try task.storedImages("images"), try task.storedImages("labels"))
        let (testImages, testLabels) = (try task.storedImages("test-images"), try task.storedImages("test-labels"))
        let test = try task.imageSet(Array(0..<testImages.count), images: testImages, labels: testLabels)
        let all = try labels.bytes(0..<labels.count).map(Int.init)
        for block in task.blocks {
            let trial = try AuditTrial(parameters, seed: parameters.seeds[block], labels: all) { rows in
                try task.imageSet(rows, images: images, labels: labels)
            }
            var arms: [AuditedArm] = []
            for name in parameters.arms {
                try task.checkCancellation()
                arms += try trial.run(name, test: test)
            }
            try task.emit(
                block: block,
                [
                    StageOutput("arms", Array(CanonicalJSON.encode(arms).utf8)),
                    StageOutput(
                        "sheet.png",
                        ImageWriter.encode(trial.sheet.pixels, width: trial.sheet.width, height: trial.sheet.height, channels: 1)),
                ], metrics: ["rows": Double(arms.reduce(0) { $0 + $1.trainingSamples })])
        }
    }
}

/// One seed's long tail with all that was trained on it.
private final class AuditTrial {
    private let parameters: AuditParameters
    private let seed: UInt64
    private let tail: ImageSet
    private let counts: [Int]
    private let network: VAE
    private let posteriors: ClassPosteriors
    private let encodings: LatentRows
    private let judge: SyntheticJudge
    private var shown: [SyntheticSample] = []

    init(_ parameters: AuditParameters, seed: UInt64, labels: [Int], load: ([Int]) throws -> ImageSet) throws {
        self.parameters = parameters
        self.seed = seed
        let classes = parameters.classNames.count
        var generator = SeededGenerator(seed: seed, stream: "audit", "long-tail")
        var (rows, held): ([Int], [Int]) = ([], [])
        var counts = [Int](repeating: 0, count: classes)
        for label in 0..<classes {
            var members = labels.indices.filter { labels[$0] == label }
            generator.shuffle(&members)
            let count = parameters.tailClasses.contains(label) ? parameters.tailCount : parameters.headCount
            guard members.count >= count + 20 else {
                throw AMAFError("augmentation.audit", "Class \(label) has only \(members.count) images", remedy: "Ask for fewer.")
            }
            rows += members.prefix(count)
            // Never seen by generator or classifier: what the distance of honest images is.
            held += members.dropFirst(count).prefix(20)
            counts[label] = count
        }
        self.counts = counts
        let tail = try load(rows)
        self.tail = tail
        let device = SlotDevice.shared
        network = try VAE(parameters.network, ParameterStore(seed: seed, on: device))
        let batch = 128
        let trainer = VAETrainer(network, .init(batch: batch, seed: seed))
        let epochs = max(1, parameters.vaeSteps / ((tail.count + batch - 1) / batch))
        for epoch in 1...epochs { try trainer.trainEpoch(tail, epoch: epoch) }
        var encodings = LatentRows(width: parameters.network.latent)
        for start in stride(from: 0, to: tail.count, by: 512) {
            let range = start..<min(tail.count, start + 512)
            let some = range.map { tail.labels?[$0] ?? -1 }
            let x = device.tensor(tail.floats(range), [range.count, tail.pixels])
            let (mean, logVariance) = network.encode(x, classes: network.oneHot(some))
            encodings.append(
                LatentRows(
                    width: parameters.network.latent, positions: Array(range), labels: some, mean: mean.values(),
                    logVariance: logVariance.values()))
        }
        self.encodings = encodings
        var gatherer = ClassPosteriors.Gatherer(width: parameters.network.latent)
        gatherer.add(encodings)
        posteriors = gatherer.posteriors()
        let standard = JudgeParameters.standard(pixels: tail.pixels, classes: classes, seed: seed)
        let classifier = try Perceptron.trained(
            standard.network, on: tail, targets: VAETrainer.oneHot(tail.labels ?? [], classes: classes), standard.training, device: device)
        var policy = AdmissionPolicy()
        policy.maximumRatio = Double(parameters.headCount) / Double(max(parameters.tailCount, 1))
        judge = try SyntheticJudge(judge: classifier, real: tail, heldOut: try load(held), counts: counts, policy: policy)
    }

    /// The arm that learns from what was admitted and, beside an arm of synthetic samples, the one that learns from all of them where a
    /// batch was refused: what the refusal was worth.
    func run(_ name: String, test: ImageSet) throws -> [AuditedArm] {
        let classes = parameters.classNames.count
        var training = tail
        var targets = VAETrainer.oneHot(tail.labels ?? [], classes: classes)
        if name == AugmentationAudit.oversampling {
            var generator = SeededGenerator(seed: seed, stream: "audit", "oversampling")
            for (label, gaussian) in posteriors.classes.sorted(by: { $0.key < $1.key }) {
                for _ in 0..<max(0, (counts.max() ?? 0) - counts[label]) {
                    let row = gaussian.members[generator.index(below: gaussian.members.count)]
                    training.bytes += tail.bytes[row * tail.pixels..<(row + 1) * tail.pixels]
                    targets += (0..<classes).map { $0 == label ? 1 : 0 }
                }
            }
        } else if name != AugmentationAudit.none {
            let methods = try name.split(separator: "+").map { part in
                guard let method = SynthesisMethod(rawValue: String(part)) else {
                    throw AMAFError(
                        "augmentation.unknown-method", "There is no method '\(part)'",
                        remedy: "Choose of \(SynthesisMethod.allCases.map(\.rawValue).joined(separator: ", ")).")
                }
                return method
            }
            let samples = try synthesize(methods)
            if methods.count == 1 { shown += samples }
            let verdicts = try judge.judge(samples, seed: seed)
            if let (method, reason) = verdicts.unjudged.min(by: { $0.key < $1.key }) {
                throw AMAFError("augmentation.too-few", "\(method): \(reason)", remedy: "Take more images of the rare classes.")
            }
            func arm(_ name: String, _ chosen: [SyntheticSample]) throws -> AuditedArm {
                try measure(
                    name, ImageSet(bytes: tail.bytes + chosen.flatMap(\.image), pixels: tail.pixels), targets + chosen.flatMap(\.label),
                    test: test, admission: verdicts.reports)
            }
            let admitted = try arm(name, verdicts.kept.map { samples[$0] })
            var hypothetical = admitted
            if verdicts.reports.contains(where: { !$0.isAdmitted }) { hypothetical = try arm(name, samples) }
            hypothetical.name = AugmentationAudit.despiteRefusal(name)
            return [admitted, hypothetical]
        }
        training.labels = nil
        return [try measure(name, training, targets, test: test, admission: [])]
    }

    private func measure(
        _ name: String, _ training: ImageSet, _ targets: [Float], test: ImageSet, admission: [AdmissionReport]
    ) throws -> AuditedArm {
        let classes = parameters.classNames.count
        let classifier = try Perceptron.trained(
            .init(inputs: tail.pixels, hidden: [256], classes: classes), on: training, targets: targets,
            .init(steps: parameters.classifierSteps, batch: 128, seed: seed), device: SlotDevice.shared)
        let scores = BiasScores(gold: test.labels ?? [], predicted: classifier.predict(test), classes: parameters.classNames)
        func names(_ isTail: Bool) -> [String] {
            parameters.classNames.indices.filter { parameters.tailClasses.contains($0) == isTail }.map { parameters.classNames[$0] }
        }
        return AuditedArm(
            name: name, trainingSamples: training.count, scores: scores,
            headTailGap: scores.headTailGap(head: names(false), tail: names(true)), admission: admission)
    }

    private func synthesize(_ methods: [SynthesisMethod]) throws -> [SyntheticSample] {
        let allotment = SynthesisAllotment.balancing(
            counts, methods: methods, maximumRatio: Double(parameters.headCount) / Double(max(parameters.tailCount, 1)))
        let maker = Synthesizer(
            network: network, posteriors: posteriors,
            parameters: SynthesisParameters(
                network: parameters.network, allotment: allotment, rotation: parameters.rotation, classes: parameters.classNames.count,
                seed: seed))
        return try stride(from: 0, to: allotment.count, by: 256).flatMap { start in
            try maker.make(start..<min(allotment.count, start + 256)) {
                encodings.row($0)
            } image: { position in
                Array(tail.bytes[position * tail.pixels..<(position + 1) * tail.pixels])
            }
        }
    }

    var sheet: PictureSheet {
        AdmitSyntheticStage.sheet(
            shown, real: tail,
            AdmitParameters(
                judge: .init(inputs: tail.pixels, hidden: [1], classes: parameters.classNames.count), policy: AdmissionPolicy(),
                height: parameters.network.height, width: parameters.network.width, seed: seed))
    }
}

/// `compare-augmentation`: the audit's arms over all seeds.
///
/// - Inputs: `arms` (all blocks). Outputs: `audit` (JSON, `AugmentationAudit`).
package struct CompareAugmentationStage: StageExecutor {
    package static let kind = "compare-augmentation"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let seeds = try task.parameters(as: AuditParameters.self).seeds
        var runs: [[AuditedArm]] = []
        try task.inputs.forEach("arms") { _, artifact in
            runs.append(try CanonicalJSON.decode([AuditedArm].self, from: artifact.bytes, what: "audit of a seed"))
        }
        let audit = try AugmentationAudit(seeds: seeds, runs: runs)
        try task.emit(block: 0, [StageOutput("audit", Array(CanonicalJSON.encode(audit).utf8))], metrics: ["rows": Double(runs.count)])
    }
}
