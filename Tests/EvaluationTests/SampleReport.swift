import Evaluation
import Primitives

/// A report with every section filled by generated numbers of the right size. They are made up and used for layout only.
enum SampleReport {
    static func make(seeds: [UInt64] = [1, 2, 3, 4, 5], hasGold: Bool = true) -> RunReport {
        let samples = 15_000
        var report = RunReport(
            header: .init(
                run: RunID("clinc150-7f3a91c2"), title: "Layout sample: CLINC150 intents", pipeline: "configs/pipelines/clinc150.yaml",
                startedAt: "2026-01-05T09:12:44Z", finishedAt: "2026-01-05T09:14:02Z", wallSeconds: 78.4),
            dataset: .init(
                name: "clinc150", digest: String(repeating: "5e", count: 32), samples: samples, testSamples: 4500, classes: 150,
                hasGold: hasGold,
                quarantined: [
                    .init(place: "train.jsonl:812", code: "dataset.row-shape", reason: "The row has 3 fields where 2 were expected"),
                    .init(place: "train.jsonl:9041", code: "dataset.duplicate-id", reason: "The id q-18 is taken by row 18"),
                ]),
            seeds: seeds,
            environment: .init(
                numericsClass: NumericsClass("cpu/x86-64-v3/openblas-0.3.21"),
                versions: [.init("amaf", "0.1.0"), .init("openblas", "0.3.21"), .init("swift", "6.3.1")]))
        let clean = RunReport.Reviewer.simulated(errorRate: 0, secondsPerItem: 5.76)
        let noisy = RunReport.Reviewer.simulated(errorRate: 0.05, secondsPerItem: 5.76)
        let shapes: [(String, String, RunReport.Reviewer, String?, Double, Double)] = [
            ("margin", "margin", clean, "random", 0.035, 1.06), ("random", "random (control)", clean, nil, 0.095, 0.62),
            ("margin-noisy", "margin, 5 % reviewer error", noisy, "random-noisy", 0.05, 0.98),
            ("random-noisy", "random, 5 % reviewer error", noisy, nil, 0.108, 0.58),
        ]
        report.arms = shapes.map { id, title, reviewer, control, floor, power in
            let runs = seeds.map { seed in
                var generator = SeededGenerator(seed: seed, stream: id)
                return RunReport.ArmRun(
                    seed: seed,
                    points: [150, 300, 600, 900, 1200, 1550, 1950, 2450, 3000].enumerated().map { round, answers in
                        var decay = 1.0
                        for _ in 0..<Int(8 * power) { decay *= 1 / (1 + Double(answers) / 4200) }
                        let accuracy = 1 - floor - (0.55 - floor) * decay + 0.006 * (generator.uniform() - 0.5)
                        let unseen = (accuracy * Double(samples) - Double(answers)) / Double(samples - answers)
                        return RunReport.BudgetPoint(
                            round: round, answersUsed: answers, fraction: Double(answers) / Double(samples),
                            accuracy: hasGold ? accuracy : nil,
                            unseenAccuracy: hasGold ? unseen : nil, unseenCount: samples - answers,
                            macroF1: hasGold ? accuracy - 0.004 : nil,
                            testAccuracy: hasGold ? unseen - 0.02 : nil)
                    })
            }
            return RunReport.Arm(
                id: id, title: title, acquisition: id.hasPrefix("margin") ? "margin" : "random", reviewer: reviewer, control: control,
                runs: runs)
        }
        if hasGold {
            report.supervised = seeds.map {
                RunReport.SupervisedReference(
                    seed: $0, classifier: "multinomial logistic regression", trainingSamples: samples, testSamples: 4500,
                    testAccuracy: 0.9240 + Double($0) * 0.0007, testMacroF1: 0.9232 + Double($0) * 0.0007)
            }
        }
        var generator = SeededGenerator(seed: 7)
        report.labelingFunctions = .init(
            coverage: 0.7821, overlap: 0.3312, conflict: 0.1204, faults: 2,
            rows: (0..<24).map { i in
                .init(
                    name: "keyword/\(["transfer", "balance", "weather", "alarm", "flight_status", "oil_change_when"][i % 6])-\(i)",
                    kind: ["keywords", "regex", "class-name"][i % 3], coverage: 0.002 + 0.03 * generator.uniform(), overlap: 0.01,
                    conflict: 0.004,
                    votes: 30 + generator.index(below: 600), faults: i == 3 ? 2 : 0, accuracy: 0.55 + 0.4 * generator.uniform(),
                    accuracySupport: 4 + i, weight: 0.5 + 2 * generator.uniform())
            })
        report.labelModel = .init(
            chosen: "log-linear", criterion: "held-out likelihood",
            candidates: [
                .init(name: "majority vote", accuracy: 0.6623, negativeLogLikelihood: 1.9342, heldOut: 600),
                .init(name: "log-linear", accuracy: 0.6911, negativeLogLikelihood: 1.6021, heldOut: 600, note: "41 iterations"),
            ], coverage: 0.7821)
        report.aggregation = .init(
            chosen: "learned pool",
            criterion: "lowest cross-validated negative log-likelihood among candidates no less accurate than the classifier",
            candidates: [
                .init(name: "classifier", accuracy: 0.8123, negativeLogLikelihood: 0.7712, heldOut: 2250, note: "temperature 1.31"),
                .init(name: "learned pool", accuracy: 0.8240, negativeLogLikelihood: 0.7208, heldOut: 2250, note: "weights 0.82, 0.21"),
            ])
        var before = CalibrationCounts()
        var after = CalibrationCounts()
        for _ in 0..<12_000 {
            let truth = 1 - 0.9 * generator.uniform() * generator.uniform()
            let isCorrect = generator.uniform() < truth
            after.add(confidence: Float(min(1, max(0, truth + 0.02 * (generator.uniform() - 0.5)))), isCorrect: isCorrect)
            before.add(confidence: Float(truth * truth.squareRoot()), isCorrect: isCorrect)
        }
        if let first = RunReport.Calibration.Measure(before), let second = RunReport.Calibration.Measure(after) {
            report.calibration = .init(temperature: 0.62, before: first, after: second)
        }
        if hasGold {
            var counts = ConfusionCounts(classCount: 12)
            for i in 0..<3000 {
                let gold = i % 12
                let wrong = generator.uniform() < 0.02 + 0.02 * Double(gold % 4)
                counts.add(
                    gold: gold, predicted: wrong ? (generator.uniform() < 0.1 ? nil : (gold + 1 + generator.index(below: 2)) % 12) : gold)
            }
            report.confusion = .init(
                counts,
                classNames: [
                    "transfer", "transactions", "balance", "freeze_account", "pay_bill", "bill_balance", "bill_due", "interest_rate",
                    "routing",
                    "min_payment", "order_checks", "pin_change",
                ])
        }
        report.finalLabels = .init(
            rows: [
                .init(sources: "human + classifier + label-model", samples: 1920, meanConfidence: 1, accuracy: hasGold ? 1 : nil),
                .init(sources: "human + classifier", samples: 1080, meanConfidence: 1, accuracy: hasGold ? 1 : nil),
                .init(sources: "classifier + label-model", samples: 9811, meanConfidence: 0.957, accuracy: hasGold ? 0.9612 : nil),
                .init(sources: "classifier", samples: 2189, meanConfidence: 0.901, accuracy: hasGold ? 0.8923 : nil),
            ], contradictedAnswers: 41)
        if !hasGold || seeds.count == 1 { report.audit = .init(agreed: 283, sampled: 300) }
        report.ledger = .init(
            entries: [
                .init(purpose: "review answers", answers: 2250, seconds: 2250 * 5.76),
                .init(purpose: "examples behind the labeling functions", answers: 600, seconds: 600 * 5.76),
                .init(purpose: "seed set", answers: 150, seconds: 150 * 5.76),
                .init(purpose: "gold for measurement", answers: 19_500, seconds: 0, countsTowardsBudget: false),
            ], secondsPerItem: 5.76, samples: samples, isSimulated: true)
        report.stages = [
            .init(name: "ingest", tasks: 59, rows: 15_000, wallSeconds: 0.31, computeSeconds: 0.52),
            .init(name: "extract-features", tasks: 59, rows: 15_000, wallSeconds: 1.24, computeSeconds: 2.31),
            .init(name: "apply-labeling-functions", tasks: 59, cachedTasks: 3, rows: 15_000, wallSeconds: 0.84, computeSeconds: 1.41),
            .init(name: "fit-label-model", tasks: 5, rows: 75_000, wallSeconds: 0.93, computeSeconds: 0.93),
            .init(name: "train-classifier", tasks: 180, rows: 260_000, wallSeconds: 41.02, computeSeconds: 78.31),
            .init(name: "score-uncertainty", tasks: 10_620, rows: 2_700_000, wallSeconds: 18.11, computeSeconds: 30.50),
            .init(name: "select-for-review", tasks: 180, rows: 2_700_000, wallSeconds: 2.4, computeSeconds: 2.4),
            .init(name: "aggregate", tasks: 1180, rows: 300_000, wallSeconds: 3.9, computeSeconds: 6.1),
            .init(name: "evaluate", tasks: 20, rows: 300_000, wallSeconds: 0.8, computeSeconds: 0.8),
        ]
        report.cost = .init(
            prices: .init(currency: "USD", perHumanHour: 18, perSlotHour: 0.0425), ledger: report.ledger, stages: report.stages)
        report.processes = [
            .init(name: "coordinator", peakMemoryBytes: 181 << 20, cpuSeconds: 7.2),
            .init(name: "worker-1", peakMemoryBytes: 264 << 20, cpuSeconds: 58.1),
            .init(name: "worker-2", peakMemoryBytes: 259 << 20, cpuSeconds: 57.4),
        ]
        report.scheduling = .init(
            workers: 2, leasesGranted: 1641, leasesRevoked: 3, blocksDone: 12_362, blocksRedone: 11, duplicates: 2, fenced: 1)
        report.summarise()
        if let margin = report.checkpoints.last(where: { $0.arm == "margin" })?.accuracy?.mean {
            report.gates = [
                .init("Label accuracy with at most 20 % human answers", .atLeast, 0.955, measured: margin, unit: .fraction),
                .init(
                    "Above random at 20 %", .atLeast, 0.04, measured: report.comparisons.last { $0.arm == "margin" }?.difference.mean,
                    unit: .points),
                .init("Peak memory of any process", .atMost, 500, measured: 264, unit: .mebibytes),
            ]
        }
        report.warnings = ["Rows without a vote stayed uncovered by the label model; the classifier labels them."]
        return report
    }
}
