import Augmentation
import Datasets
import Foundation
import Manifests
import Primitives
import Scheduling
import Stages
import Testing

/// A pipeline with synthetic samples, planned as `amaf run` plans it and carried out by the interpreter.
private struct AugmentedRun {
    let plan: RunPlan
    let annotation: RunAnnotation
    let manifest: PipelineManifest
    let samples: Int
    let interpreter = try! PlanInterpreter()

    /// Bars that stand and bars that lie, 12 × 12, as a folder of IDX files with a test split.
    private static func write(_ folder: String, split: String, count: Int, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var pixels: [UInt8] = []
        for i in 0..<count {
            let at = generator.index(below: 12)
            for place in 0..<144 {
                let isBar = i % 2 == 0 ? place % 12 == at : place / 12 == at
                pixels.append(UInt8(min(255, (isBar ? 180 : 0) + generator.index(below: 60))))
            }
        }
        try Data(IDXFile(shape: [count, 12, 12], values: pixels).encode()).write(
            to: URL(fileURLWithPath: "\(folder)/\(split)-images-idx3-ubyte"))
        try Data(IDXFile(shape: [count], values: (0..<count).map { UInt8($0 % 2) }).encode()).write(
            to: URL(fileURLWithPath: "\(folder)/\(split)-labels-idx1-ubyte"))
    }

    init(network: String = "", weight: Double = 0.5) throws {
        let folder = NSTemporaryDirectory() + "amaf-augmented-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Self.write(folder, split: "train", count: 300, seed: 1)
        try Self.write(folder, split: "test", count: 100, seed: 2)
        manifest = try PipelineManifest.parse(
            """
            name: augmented
            dataset:
              format: idx
              path: .
              splits: {pool: train, test: test}
            block-size: 64
            features: {images: {parts: [pixels], side: 12, cell: 3, components: 8\(network)}}
            vae: {latent: 6, hidden: 24, epochs: 6, batch: 27, replicas: 2, steps-per-round: 8, mode: synchronous}
            augmentation:
              methods: [interpolation, rotation]
              per-class: 40
              weight: \(weight)
              held-out: 0.2
              # Six epochs of a toy make no pictures; what is tested is the way, not the verdict.
              admission: {agreement: 0, consistency: 0, precision: 0, coverage: 0, memorisation: 0, frechet-share: 1000}
            control: none
            review: {mode: simulated, budget: 120, initial: 60, rounds: 2}
            """, path: "\(folder)/job.yaml")
        func source(_ format: DatasetFormat) throws -> (DatasetIndex, [UInt8]) {
            let scratch = "\(folder)/\(format.splits.joined())"
            try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
            let source = try DatasetSource.prepare(folder, format: format, scratch: scratch)
            return (try source.index(blockSize: 64, classNames: nil), [UInt8](try Data(contentsOf: URL(fileURLWithPath: source.path))))
        }
        let (index, bytes) = try source(manifest.dataset.pool)
        let (testIndex, testBytes) = try source(#require(manifest.dataset.test))
        samples = index.samples
        var planner = Planner(
            manifest: manifest, index: index, testIndex: testIndex, functions: nil,
            artifacts: PlanArtifacts(
                source: try interpreter.store(bytes), index: try interpreter.store(index.encode()),
                testSource: try interpreter.store(testBytes), testIndex: try interpreter.store(testIndex.encode())))
        (plan, annotation) = try planner.plan()
    }

    func bytes(_ name: String, _ stage: String) throws -> [UInt8] { try interpreter.bytes(name, of: StageID(stage)) }
}

@Suite struct AugmentedRunTests {
    private static let arm = "seed-1/margin"

    @Test func whatTheLastClassifierLearnsFrom() throws {
        let (run, pieces) = (try AugmentedRun(), try AugmentedRun())
        try run.interpreter.run(run.plan.stages)
        // A worker that forgets everything, one block at a time.
        pieces.interpreter.forgets = true
        pieces.interpreter.leaseBlocks = 1
        try pieces.interpreter.run(pieces.plan.stages)
        for (stage, name) in [
            ("\(Self.arm)/augmentation/admit-synthetic", "admitted"), ("\(Self.arm)/augmentation/admit-synthetic", "origins.csv"),
            ("\(Self.arm)/augmentation/extract-features", "synthetic"), ("\(Self.arm)/round-03/train-classifier", "weights"),
            ("export", "labels.jsonl"),
        ] { #expect(try run.bytes(name, stage) == pieces.bytes(name, stage), "\(stage): \(name)") }

        // Parents are samples that people answered, none of those held out; children have their parents' label.
        var answered: [Int: Int] = [:]
        for round in run.annotation.arms[0].totals.indices {
            for answer in try AnswerBlock(decoding: run.bytes("answers", "\(Self.arm)/round-0\(round)/review")).answers {
                answered[answer.position] = answer.label
            }
        }
        let held = Set(HeldOutRule(share: 0.2, seed: run.manifest.vae.seed).heldOut(of: run.samples))
        let origins = String(decoding: try run.bytes("origins.csv", "\(Self.arm)/augmentation/admit-synthetic"), as: UTF8.self)
        let lines = origins.split(separator: "\r\n").dropFirst().map { $0.split(separator: ",").map(String.init) }
        #expect(lines.count > 20)
        for line in lines {
            for parent in line[3].split(separator: "+").compactMap({ Int($0) }) {
                #expect(answered[parent] == Int(line[1]) && !held.contains(parent), "\(line)")
            }
        }
        let examples = try SyntheticExamples(decoding: run.bytes("synthetic", "\(Self.arm)/augmentation/extract-features"))
        #expect(examples.count == lines.count && examples.columns == 8)

        // The twin has the same answers and no synthetic sample; both are measured on the pool's samples and nothing else.
        #expect(
            try run.bytes("weights", "\(Self.arm)/round-03/train-classifier")
                != run.bytes("weights", "\(Self.arm)-without-augmentation/round-03/train-classifier"))
        for arm in [Self.arm, "\(Self.arm)-without-augmentation"] {
            let evaluation = try CanonicalJSON.decode(
                ArmEvaluation.self, from: run.bytes("evaluation", "\(arm)/evaluate"), what: "evaluation")
            #expect(evaluation.samples == 300 && evaluation.answersUsed == 120 && evaluation.testSamples == 100)
            #expect(evaluation.answersByClass.reduce(0, +) == 120 && evaluation.testRecall.count == 2)
        }
    }

    /// Nobody but the reviewer, the evaluation and the supervised reference may see gold; synthesis sees answers only.
    @Test(arguments: ["", ", network: vae"]) func goldGoesNoOtherWay(network: String) throws {
        let run = try AugmentedRun(network: network)
        for stage in run.plan.stages {
            for input in stage.inputs {
                guard case .stage(let source, let output) = input.source else { continue }
                if output == "gold" {
                    #expect(
                        stage.kind == SimulatedReviewStage.kind || stage.kind == EvaluateStage.kind
                            || stage.id.rawValue == "supervised/train-classifier", "\(stage.id)")
                }
                // Test rows reach no stage that makes, judges or learns.
                if source.rawValue.hasPrefix("test/") {
                    #expect(
                        stage.id.rawValue.contains("test/") || stage.kind == EvaluateStage.kind
                            || stage.id.rawValue.hasPrefix("supervised/"))
                }
                if input.name == "synthetic" {
                    #expect([AdmitSyntheticStage.kind, TrainDenseClassifierStage.kind].contains(stage.kind), "\(stage.id)")
                }
            }
        }
        let learners = run.plan.stages.filter { $0.kind == TrainDenseClassifierStage.kind && $0.inputs.contains { $0.name == "synthetic" } }
        #expect(learners.map(\.id.rawValue) == ["\(Self.arm)/round-03/train-classifier"])
        #expect(run.annotation.arms.map(\.role) == [.main, .withoutAugmentation])
        let preferring = Set(run.plan.stages.filter { $0.placement.prefers == "gpu" }.map(\.kind))
        #expect(preferring.isSuperset(of: ["vae-slopes", "average-vae", "encode-latents", "synthesize"]))
    }

    @Test func allotmentsFollowTheAnswers() {
        let rules = RotationRules(standard: .radiograph, byClass: [2: RotationRule(maximumDegrees: 0)])
        let balance = AllotmentRule(methods: [.interpolation, .rotation], perClass: nil, maximumRatio: 3, rotation: rules)
        let made = balance.allotment([40, 10, 5, 1, 0])
        func count(_ label: Int, _ method: SynthesisMethod) -> Int {
            made.shares.filter { $0.label == label && $0.method == method }.reduce(0) { $0 + $1.count }
        }
        // Up to three for each answer; a class that may not be turned is not; a single answer has no sibling.
        #expect(count(0, .interpolation) == 0 && count(1, .interpolation) == 15 && count(1, .rotation) == 15)
        #expect(count(2, .interpolation) == 15 && count(2, .rotation) == 0 && made.count == 45)
        #expect(made.count <= balance.most(answers: 56, classes: 5).count)
        let each = AllotmentRule(methods: [.jitter], perClass: 7, maximumRatio: 1, rotation: rules)
        #expect(each.allotment([40, 10, 5]).shares.map(\.count) == [7, 7, 5] && each.most(answers: 55, classes: 3).count == 21)
    }
}
