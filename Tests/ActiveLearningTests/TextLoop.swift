import ActiveLearning
import Foundation
import Kernels
import Models
import Primitives

/// The text loop in one process, cut exactly as the cluster cuts it: features and document frequencies by block, training as a
/// reduction, scores by block, selection as a reduction.
struct TextLoop {
    struct Settings {
        var features = TextFeaturesConfiguration()
        var l2: Float = 0.05
        var epochs = 4
        var blockSize = 256
    }

    /// Accuracy in percent after some number of answers.
    struct Checkpoint {
        var asked: Int
        var pool: Double
        var unseen: Double
        var test: Double
        var classesSeen: Int
    }

    let settings: Settings
    let gold: [Int]
    let classes: Int
    let blocks: [SparseFeatureBlock]
    let idf: InverseDocumentFrequency
    let names: SparseMatrix
    let test: SparseMatrix
    let testGold: [Int]
    var clock = PhaseClock()

    init(texts: [String], gold: [Int], names: [String], test: [String], testGold: [Int], settings: Settings = Settings()) throws {
        self.settings = settings
        self.gold = gold
        self.testGold = testGold
        classes = names.count
        var clock = PhaseClock()
        var featurizer = try TextFeaturizer(settings.features)
        let plan = BlockPlan(samples: texts.count, blockSize: settings.blockSize)
        let blocks = clock.measure("extract-features", rows: texts.count) {
            (0..<plan.blockCount).map {
                featurizer.block(texts[plan.range(ofBlock: $0)], firstPosition: plan.range(ofBlock: $0).lowerBound)
            }
        }
        let idf = clock.measure("document-frequency", rows: texts.count) {
            var frequency = DocumentFrequency(bucketBits: settings.features.bucketBits)
            for block in blocks { frequency.add(block) }
            return InverseDocumentFrequency(frequency)
        }
        self.names = featurizer.matrix(names.map { $0.replacing("_", with: " ") }, idf: idf)
        self.test = featurizer.matrix(test, idf: idf)
        self.blocks = blocks
        self.idf = idf
        self.clock = clock
    }

    /// Labelled rows out of all blocks, as `train-classifier` reads them.
    func examples(_ answers: [Int: Int]) -> SoftmaxRegression.Examples {
        let positions = answers.keys.sorted()
        var matrix = SparseMatrix(columns: settings.features.buckets)
        matrix.reserve(rows: positions.count, entries: positions.count * 128)
        var next = 0
        for block in blocks {
            var rows: [Int] = []
            while next < positions.count && positions[next] < block.positions.upperBound {
                rows.append(positions[next] - block.firstPosition)
                next += 1
            }
            block.appendScaled(rows, by: idf, to: &matrix)
        }
        return SoftmaxRegression.Examples(features: matrix, positions: positions, targets: .classes(positions.map { answers[$0]! }))
    }

    mutating func scoreBlocks(_ model: SoftmaxRegression) -> [ScoreBlock] {
        let (blocks, idf, classes) = (blocks, idf, classes)
        return clock.measure("score-uncertainty", rows: gold.count) {
            blocks.map { block in
                ScoreBlock(
                    firstPosition: block.firstPosition, classes: classes,
                    scores: model.summaries(block.scaled(by: idf)).map {
                        SampleScore(
                            top: $0.top, second: $0.second, topProbability: $0.topProbability, secondProbability: $0.secondProbability,
                            entropy: $0.entropy)
                    })
            }
        }
    }

    mutating func train(
        _ answers: [Int: Int], warmStart: SoftmaxRegressionState?, seed: UInt64, epochs: Int? = nil
    ) -> SoftmaxRegression.Training {
        let configuration = SoftmaxRegression.TrainingConfiguration(classes: classes, l2: settings.l2, epochs: epochs ?? settings.epochs)
        let examples = clock.measure("gather-examples", rows: answers.count) { [self] in self.examples(answers) }
        return clock.measure("train-classifier", rows: answers.count) {
            SoftmaxRegression.train(examples, warmStart: warmStart, configuration: configuration, seed: seed)
        }
    }

    func testAccuracy(_ model: SoftmaxRegression) -> Double {
        let right = zip(model.summaries(test), testGold).count { $0.top == $1 }
        return 100 * Double(right) / Double(max(testGold.count, 1))
    }

    func checkpoint(_ scores: [ScoreBlock], answers: [Int: Int], model: SoftmaxRegression) -> Checkpoint {
        var (right, unseenRight, unseen) = (0, 0, 0)
        for block in scores {
            for (position, score) in zip(block.positions, block.scores) {
                if let answer = answers[position] {
                    if answer == gold[position] { right += 1 }
                } else {
                    unseen += 1
                    if Int(score.top) == gold[position] { unseenRight += 1 }
                }
            }
        }
        return Checkpoint(
            asked: answers.count, pool: 100 * Double(right + unseenRight) / Double(gold.count),
            unseen: 100 * Double(unseenRight) / Double(max(unseen, 1)), test: testAccuracy(model), classesSeen: Set(answers.values).count)
    }

    /// One arm: cold start, then rounds until the budget; final labels are the answers, and the classifier's for all others.
    mutating func run(
        policy: any AcquisitionPolicy, coldStart: (any AcquisitionPolicy)?, schedule: ReviewSchedule, report: [Int], errorRate: Double,
        seed: UInt64
    ) throws -> (checkpoints: [Checkpoint], weightBytes: Int, stateBytes: Int) {
        let reviewer = SimulatedReviewer(errorRate: errorRate, secondsPerItem: 3.6, seed: seed)
        let needsScores = !(policy is RandomAcquisition)
        var answers: [Int: Int] = [:]
        var state: SoftmaxRegressionState?
        var scores: [ScoreBlock] = []
        var checkpoints: [Checkpoint] = []
        var (weightBytes, stateBytes) = (0, 0)
        if coldStart is ClassNameColdStart { scores = scoreBlocks(SoftmaxRegression(classNames: names)) }
        for round in schedule.totals.indices {
            let pool =
                scores.isEmpty
                ? CandidatePool(positions: 0..<gold.count, classes: classes, asked: answers.keys)
                : try CandidatePool(scores, asked: answers.keys)
            let rule = round == 0 ? coldStart ?? RandomAcquisition() : policy
            let batch = clock.measure("select-for-review", rows: pool.candidates.count) {
                selectForReview(schedule.batch(ofRound: round), from: pool, policy: rule, seed: seed, round: round)
            }
            for selection in batch {
                answers[selection.position] = reviewer.answer(
                    position: selection.position, gold: gold[selection.position], classes: classes)
            }
            let isReported = report.contains(answers.count)
            guard needsScores || isReported else { continue }
            let training = train(answers, warmStart: state, seed: seed &* 1000 &+ UInt64(round))
            // What the wire carries is what the next stage uses.
            let (bytes, stateBlob) = clock.measure("encode weights and state", rows: 1) {
                (training.model.encode(), training.state.encode())
            }
            (weightBytes, stateBytes) = (bytes.count, stateBlob.count)
            let model = try clock.measure("decode weights", rows: 1) { try SoftmaxRegression(decoding: bytes) }
            state = try SoftmaxRegressionState(decoding: stateBlob)
            scores = scoreBlocks(model)
            if isReported { checkpoints.append(checkpoint(scores, answers: answers, model: model)) }
            if !needsScores { scores = [] }
        }
        return (checkpoints, weightBytes, stateBytes)
    }
}

/// CPU seconds and rows by phase.
struct PhaseClock {
    private(set) var phases: [String: (seconds: Double, rows: Int)] = [:]

    static func processSeconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    /// The largest resident size so far, in MiB.
    static func peakMemory() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.ru_maxrss) / 1024
    }

    mutating func measure<R>(_ phase: String, rows: Int, _ body: () throws -> R) rethrows -> R {
        let start = Self.processSeconds()
        defer {
            let old = phases[phase] ?? (0, 0)
            phases[phase] = (old.seconds + Self.processSeconds() - start, old.rows + rows)
        }
        return try body()
    }

    func table() -> String {
        phases.sorted { $0.key < $1.key }.map { name, phase in
            let rate = String(format: "%.0f", Double(phase.rows) / max(phase.seconds, 1e-9))
            return "  \(name): \(String(format: "%.2f", phase.seconds)) CPU s, \(rate) rows/s"
        }.joined(separator: "\n")
    }
}
