import Augmentation
import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Scheduling
import Stages
import Testing

/// Two classes of 6 × 6 images: bars that stand and bars that lie, at random places, with noise.
private struct Bars {
    static let network = VAE.Configuration(height: 6, width: 6, architecture: .dense(hidden: [24]), latent: 4, classes: 2)
    let images: IDXFile
    let labels: IDXFile

    init(_ count: Int, seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var pixels: [UInt8] = []
        for i in 0..<count {
            let at = generator.index(below: 6)
            for y in 0..<6 {
                for x in 0..<6 {
                    let isBar = i % 2 == 0 ? x == at : y == at
                    pixels.append(UInt8(min(255, (isBar ? 200 : 0) + generator.index(below: 40))))
                }
            }
        }
        images = IDXFile(shape: [count, 6, 6], values: pixels)
        labels = IDXFile(shape: [count], values: (0..<count).map { UInt8($0 % 2) })
    }

    var set: ImageSet { ImageSet(bytes: images.values, labels: labels.values.map(Int.init), pixels: 36) }

    func stored(in interpreter: PlanInterpreter) throws -> AugmentationArtifacts {
        AugmentationArtifacts(images: try interpreter.store(images.encode()), labels: try interpreter.store(labels.encode()))
    }
}

@Suite struct VAETrainingPlanTests {
    private func training(_ change: (inout VAETraining) -> Void = { _ in }) -> VAETraining {
        var training = VAETraining(
            network: Bars.network, replicas: 1, batch: 20, learningRate: 1e-3, epochs: 2, stepsPerRound: 3, images: 90, seed: 5)
        change(&training)
        return training
    }

    @Test func everyImageIsSeenOnceAnEpochByOneReplica() {
        for replicas in [1, 3, 7] {
            let training = training { $0.replicas = replicas }
            #expect(training.stepsPerEpoch == 5)
            let seen = (0..<5).flatMap { step in (0..<replicas).flatMap { Array(training.share(step: step, replica: $0)) } }
            #expect(seen == Array(0..<90))
        }
        #expect(training().order(epoch: 1).sorted() == Array(0..<90) && training().order(epoch: 1) != training().order(epoch: 2))
    }

    @Test func roundsEndWithTheirEpoch() {
        let rounds = training().rounds
        #expect(rounds.map(\.steps) == [0..<3, 3..<5, 5..<8, 8..<10])
        #expect(rounds.map(\.endsEpoch) == [false, true, false, true] && rounds.map(\.epoch) == [1, 1, 2, 2])
    }

    @Test func impossibleTrainingsAreRefused() {
        #expect(throws: AMAFError.self) { try training { $0.replicas = 21 }.validate() }
        #expect(throws: AMAFError.self) { try training { $0.learningRate = .nan }.validate() }
        #expect(throws: AMAFError.self) { try training { $0.stepsPerRound = 0 }.validate() }
    }

    /// What one process computes: the reference that one replica must match to the bit, in either mode.
    private func reference(_ bars: Bars, _ training: VAETraining) throws -> [Float] {
        let network = try VAE(training.network, ParameterStore(seed: training.seed, on: CPUDevice(lanes: 1)))
        let trainer = VAETrainer(
            network, .init(batch: training.batch, adam: .init(learningRate: training.learningRate), seed: training.seed))
        for epoch in 1...training.epochs { try trainer.trainEpoch(bars.set, epoch: epoch) }
        return network.parameters.flatMap { $0.value.values() }
    }

    private func weights(_ bars: Bars, _ training: VAETraining, forgets: Bool = false) throws -> (weights: [Float], bytes: [UInt8]) {
        let interpreter = try PlanInterpreter()
        interpreter.forgets = forgets
        var plan = AugmentationPlan(try bars.stored(in: interpreter))
        let last = try plan.train(training)
        try interpreter.run(plan.stages)
        let bytes = try interpreter.bytes("checkpoint", of: last)
        let file = try Safetensors(data: Data(bytes), place: "checkpoint")
        let network = try VAE(training.network, ParameterStore(.checkpoint(file, prefix: ""), on: CPUDevice(lanes: 1)))
        let measured = try #require(interpreter.metrics[last])
        #expect(measured["step"] == Double(training.epochs * training.stepsPerEpoch) && (measured["loss"] ?? 0) > 0)
        return (network.parameters.flatMap { $0.value.values() }, bytes)
    }

    @Test func oneReplicaIsOneProcessToTheBit() throws {
        let bars = Bars(90, seed: 1)
        let expected = try reference(bars, training())
        #expect(try weights(bars, training()).weights == expected)
        let local = training {
            $0.mode = .local
            $0.outerLearningRate = 1
            $0.outerMomentum = 0
        }
        #expect(try weights(bars, local).weights == expected)
    }

    @Test func replicasTogetherAreTheBigBatch() throws {
        // Noise differs by replica, so the comparison is by loss: the same network learns the same thing.
        let bars = Bars(90, seed: 1)
        let three = training { $0.replicas = 3 }
        let (one, many) = (try weights(bars, training()).weights, try weights(bars, three).weights)
        #expect(one != many && zip(one, many).allSatisfy { abs($0 - $1) < 0.05 })
    }

    @Test(arguments: VAETraining.Mode.allCases) func aWorkerThatForgetsEverythingChangesNoBit(_ mode: VAETraining.Mode) throws {
        let bars = Bars(90, seed: 1)
        let training = training {
            $0.replicas = 3
            $0.mode = mode
        }
        #expect(try weights(bars, training).bytes == weights(bars, training, forgets: true).bytes)
    }

    @Test func slopesOfEmptySharesCountNothing() {
        let some = VAEContribution(rows: 3, reconstruction: 1, divergence: 2, values: [1, -2])
        let none = VAEContribution(rows: 0, reconstruction: 0, divergence: 0, values: [0, 0])
        #expect(VAEContribution.mean([none, some, none]) == [1, -2])
        #expect(VAEContribution.mean([some, VAEContribution(rows: 1, reconstruction: 0, divergence: 0, values: [5, 2])]) == [2, -1])
        let bytes = some.encode()
        #expect(bytes.withUnsafeBytes { try? VAEContribution(decoding: $0) } == some)
        for cut in bytes.indices {
            #expect(bytes[..<cut].withUnsafeBytes { try? VAEContribution(decoding: $0) } == nil)
        }
    }
}

@Suite struct SynthesisStageTests {
    private func plan(_ interpreter: PlanInterpreter, methods: [SynthesisMethod]) throws -> (stages: [StageSpec], rows: [Int]) {
        let bars = Bars(460, seed: 2)
        var artifacts = try bars.stored(in: interpreter)
        let rows = (0..<460).filter { $0 % 10 != 7 && $0 % 10 != 2 }
        artifacts.positions = try interpreter.store(RowNumbers.encode(rows))
        artifacts.heldOut = try interpreter.store(RowNumbers.encode((0..<460).filter { $0 % 10 == 7 || $0 % 10 == 2 }))
        var plan = AugmentationPlan(artifacts)
        let training = VAETraining(
            network: Bars.network, replicas: 2, batch: 23, learningRate: 3e-3, epochs: 6, stepsPerRound: 16, images: rows.count, seed: 3)
        let checkpoint = try plan.train(training)
        let shares = methods.flatMap { method in (0..<2).map { SynthesisAllotment.Share(label: $0, method: method, count: 40) } }
        let judge = JudgeParameters(
            network: .init(inputs: 36, hidden: [24, 8], classes: 2), training: .init(steps: 300, batch: 32, seed: 1))
        // Six epochs of a toy make no pictures; what is tested is the way, not the verdict.
        var policy = AdmissionPolicy()
        policy.maximumFrechetShare = 1000
        (policy.minimumPrecision, policy.minimumCoverage, policy.minimumConsistency) = (0, 0, 0)
        policy.minimumMemorisationRatio = 0
        plan.synthesize(
            SynthesisParameters(
                network: Bars.network, allotment: SynthesisAllotment(shares), classes: 2, latentBlockSize: 50, blockSize: 32, seed: 4),
            images: rows.count, from: checkpoint, judge: judge, policy: policy)
        return (plan.stages, rows)
    }

    @Test func sameSamplesHoweverTheWorkIsCut() throws {
        let (whole, pieces) = (try PlanInterpreter(), try PlanInterpreter())
        pieces.forgets = true
        pieces.leaseBlocks = 1
        let methods: [SynthesisMethod] = [.classPosterior, .jitter, .interpolation, .prior, .rotation]
        let stages = try plan(whole, methods: methods).stages
        let rows = try plan(pieces, methods: methods).rows
        try whole.run(stages)
        try pieces.run(stages)
        for name in ["admission", "images", "labels", "origins.csv", "sheet.png"] {
            #expect(try whole.bytes(name, of: AugmentationPlan.admission) == pieces.bytes(name, of: AugmentationPlan.admission), "\(name)")
        }
        // Every parent is a training image of the sample's class; held-out images have no children.
        var samples: [SyntheticSample] = []
        for block in 0..<13 {
            samples += try SyntheticBlock(decoding: whole.bytes("synthetic", of: StageID("synthesize"), block: block)).samples
        }
        #expect(samples.count == 400)
        for sample in samples {
            #expect(sample.parents.allSatisfy { rows[$0] % 2 == sample.top })
            #expect(sample.parents.count == [.jitter: 1, .interpolation: 2, .rotation: 1][sample.method] ?? 0)
        }
        let reports = try CanonicalJSON.decode(
            [AdmissionReport].self, from: whole.bytes("admission", of: AugmentationPlan.admission), what: "admission")
        #expect(reports.map(\.method) == ["class-posterior", "jitter", "interpolation", "prior", "rotation"])
        #expect(reports.allSatisfy { $0.offered == 80 && $0.isAdmitted == $0.reasons.isEmpty && $0.compared == 80 })
        let admitted = try IDXFile(decoding: whole.bytes("images", of: AugmentationPlan.admission), place: "images")
        #expect(admitted.count == reports.reduce(0) { $0 + $1.kept } && admitted.count > 0)
    }

    @Test func strangersAmongTheParentsStopAdmission() throws {
        let interpreter = try PlanInterpreter()
        let stages = try plan(interpreter, methods: [.jitter]).stages
        try interpreter.run(stages.filter { $0.id != AugmentationPlan.admission })
        // A sample that claims a parent beyond the training set.
        let stray = SyntheticBlock(
            classes: 2, pixels: 36,
            samples: [SyntheticSample(method: .jitter, parents: [9999], label: [1, 0], image: [UInt8](repeating: 0, count: 36))])
        var admission = try #require(stages.last { $0.id == AugmentationPlan.admission })
        let digest = try interpreter.store(stray.encode())
        for i in admission.inputs.indices where admission.inputs[i].name == "synthetic" {
            admission.inputs[i].source = .artifacts([digest])
        }
        let error = #expect(throws: AMAFError.self) { try interpreter.run([admission]) }
        #expect(error?.code == "augmentation.crosses-border")
    }
}

@Suite struct AuditStageTests {
    @Test func measuresEveryArmOverSeeds() throws {
        let interpreter = try PlanInterpreter()
        let (bars, test) = (Bars(700, seed: 1), Bars(300, seed: 9))
        var artifacts = try bars.stored(in: interpreter)
        artifacts.testImages = try interpreter.store(test.images.encode())
        artifacts.testLabels = try interpreter.store(test.labels.encode())
        var plan = AugmentationPlan(artifacts)
        plan.audit(
            AuditParameters(
                network: Bars.network, classNames: ["standing", "lying"], tailClasses: [1], headCount: 150, tailCount: 24, seeds: [1, 2],
                arms: ["none", "oversampling", "interpolation+rotation"], vaeSteps: 60, classifierSteps: 120))
        try interpreter.run(plan.stages)
        let audit = try CanonicalJSON.decode(
            AugmentationAudit.self, from: interpreter.bytes("audit", of: AugmentationPlan.comparison), what: "audit")
        let despite = AugmentationAudit.despiteRefusal("interpolation+rotation")
        #expect(audit.rows.prefix(3).map(\.name) == ["none", "oversampling", "interpolation+rotation"])
        #expect((audit.rows.last?.name == despite) == (audit.rows[2].admittedSeeds != 2))
        #expect(audit.rows[0].againstNone == nil && audit.rows[1].againstNone != nil && audit.rows[2].againstOversampling != nil)
        #expect(audit.rows[2].admittedSeeds != nil && audit.rows.allSatisfy { $0.meanAccuracy > 0.4 })
        #expect(audit.markdown().contains("| interpolation+rotation |"))
    }
}

@Suite struct ParaphraseStageTests {
    @Test func paraphrasesAreFilteredAndMeasured() throws {
        let interpreter = try PlanInterpreter()
        let places = ["bank", "shop", "house", "office", "garden", "station", "school", "market"]
        func part(_ offset: Int) -> ParaphraseTexts.Part {
            var part = ParaphraseTexts.Part()
            for i in 0..<40 {
                part.texts += [
                    "please move cash to the \(places[(i + offset) % 8]) number \(i)", "show weather at the \(places[i % 8]) number \(i)",
                ]
                part.labels += [0, 1]
            }
            return part
        }
        let texts = ParaphraseTexts(classNames: ["pay", "weather"], train: part(0), validation: part(1), test: part(2))
        let stored = try interpreter.store(Array(CanonicalJSON.encode(texts).utf8))
        let synonyms = try interpreter.store(
            Array(CanonicalJSON.encode(["move": ["transfer", "shift"], "cash": ["money"], "show": ["display"]]).utf8))
        var parameters = ParaphraseParameters(count: 50, seeds: [1, 2], shots: [0, 5])
        parameters.features = TextFeaturesConfiguration(bucketBits: 12)
        parameters.filter.similarity = 0.1...0.99
        let plan = AugmentationPlan.paraphrases(parameters, texts: stored, thesaurus: synonyms)
        try interpreter.run(plan.stages)
        let audit = try CanonicalJSON.decode(
            ParaphraseAudit.self, from: interpreter.bytes("audit", of: AugmentationPlan.paraphraseComparison), what: "audit")
        #expect(audit.rows.map(\.trainingTexts) == [80, 10] && audit.rows.allSatisfy { $0.kept > 0 && $0.kept <= 50 })
        #expect(audit.rows.allSatisfy { $0.isAdmitted || $0.reason.hasPrefix("refused") })
        let table = String(decoding: try interpreter.bytes("paraphrases.tsv", of: AugmentationPlan.paraphraseAudit), as: UTF8.self)
        let lines = table.split(separator: "\n").dropFirst().map { $0.split(separator: "\t").map(String.init) }
        #expect(!lines.isEmpty)
        for line in lines {
            let parent = try #require(Int(line[0]))
            // A child of its parent: same class, other words, same number.
            #expect(line[1] == texts.classNames[texts.train.labels[parent]] && line[2] != texts.train.texts[parent])
            #expect(line[2].split(separator: " ").last == texts.train.texts[parent].split(separator: " ").last)
        }
    }
}
