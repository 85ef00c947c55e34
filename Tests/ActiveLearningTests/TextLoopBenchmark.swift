import ActiveLearning
import Foundation
import Models
import Primitives
import Testing

/// The recipe of docs/design/0003-text-recipe.md on CLINC150, with its gates. Run with AMAF_BENCH=1 in release; AMAF_BENCH_SEEDS
/// sets the number of seeds (5).
@Suite(.enabled(if: ProcessInfo.processInfo.environment["AMAF_BENCH"] == "1"), .serialized) struct TextLoopBenchmark {
    struct Corpus {
        var names: [String] = []
        var (texts, gold): ([String], [Int]) = ([], [])
        var (test, testGold): ([String], [Int]) = ([], [])
    }

    /// Nil, with a line that says so, where the shared data is not there.
    static func corpus() throws -> Corpus? {
        let environment = ProcessInfo.processInfo.environment
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let shared = environment["AMAF_SHARED_DATA"].map { URL(filePath: $0) } ?? root.appending(path: "../shared/data")
        let file = shared.appending(path: "clinc150/data_full.json.gz").standardizedFileURL
        guard FileManager.default.fileExists(atPath: file.path) else {
            print("skipped: no CLINC150 at AMAF_SHARED_DATA or beside the checkout")
            return nil
        }
        let unpack = Process()
        let pipe = Pipe()
        unpack.executableURL = URL(filePath: "/usr/bin/env")
        unpack.arguments = ["gzip", "-dc", file.path]
        unpack.standardOutput = pipe
        try unpack.run()
        let splits = try JSONDecoder().decode([String: [[String]]].self, from: pipe.fileHandleForReading.readDataToEndOfFile())
        unpack.waitUntilExit()
        let (train, test) = (try #require(splits["train"]), try #require(splits["test"]))
        var corpus = Corpus()
        corpus.names = Set(train.map { $0[1] }).sorted()
        let classOf = Dictionary(uniqueKeysWithValues: corpus.names.enumerated().map { ($0.element, $0.offset) })
        (corpus.texts, corpus.gold) = (train.map { $0[0] }, train.map { classOf[$0[1]]! })
        (corpus.test, corpus.testGold) = (test.map { $0[0] }, test.map { classOf[$0[1]]! })
        return corpus
    }

    static func number(_ x: Double) -> String { String(format: "%.2f", x) }

    static func summary(_ values: [Double]) -> (mean: Double, text: String) {
        let mean = values.reduce(0, +) / Double(values.count)
        let spread = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(values.count - 1, 1))).squareRoot()
        return (mean, "\(number(mean)) ± \(number(spread))")
    }

    @Test func allGold() throws {
        guard let corpus = try Self.corpus() else { return }
        var loop = try TextLoop(
            texts: corpus.texts, gold: corpus.gold, names: corpus.names, test: corpus.test, testGold: corpus.testGold)
        let answers = Dictionary(uniqueKeysWithValues: corpus.gold.enumerated().map { ($0.offset, $0.element) })
        var accuracies: [Double] = []
        for seed in 1...5 {
            let training = loop.train(answers, warmStart: nil, seed: UInt64(seed), epochs: 5)
            accuracies.append(loop.testAccuracy(try SoftmaxRegression(decoding: training.model.encode())))
            if seed == 1 {
                print(
                    "all gold: weights \(training.model.encode().count) bytes, state \(training.state.encode().count), changes \(training.changes)"
                )
            }
        }
        print(
            "all gold: test accuracy \(Self.summary(accuracies).text) %, peak \(Self.number(PhaseClock.peakMemory())) MiB\n\(loop.clock.table())"
        )
        #expect(Self.summary(accuracies).mean >= 92.0)
    }

    @Test func activeLearning() throws {
        guard let corpus = try Self.corpus() else { return }
        let seeds = Int(ProcessInfo.processInfo.environment["AMAF_BENCH_SEEDS"] ?? "5") ?? 5
        let report = [1950, 3000]
        let schedule = try ReviewSchedule(budget: 3000, first: 150, rounds: 10, checkpoints: report)
        print("totals \(schedule.totals)")
        let names = ClassNameColdStart()
        let arms: [(String, any AcquisitionPolicy, (any AcquisitionPolicy)?, Double)] = [
            ("margin", UncertaintyAcquisition(.margin), names, 0),
            ("random", RandomAcquisition(), nil, 0),
            ("margin, 5 % reviewer error", UncertaintyAcquisition(.margin), names, 0.05),
            ("margin, random start", UncertaintyAcquisition(.margin), nil, 0),
            ("balanced margin", Acquisition.balancedMargin.policy, names, 0),
            ("balanced margin, 5 % reviewer error", Acquisition.balancedMargin.policy, names, 0.05),
            ("entropy", UncertaintyAcquisition(.normalizedEntropy), names, 0),
            ("least confidence", UncertaintyAcquisition(.leastConfidence), names, 0),
        ]
        var means: [String: [Int: Double]] = [:]
        for (name, policy, coldStart, errorRate) in arms {
            var loop = try TextLoop(
                texts: corpus.texts, gold: corpus.gold, names: corpus.names, test: corpus.test, testGold: corpus.testGold)
            let start = PhaseClock.processSeconds()
            var results: [[TextLoop.Checkpoint]] = []
            var bytes = (0, 0)
            for seed in 1...seeds {
                let run = try loop.run(
                    policy: policy, coldStart: coldStart, schedule: schedule, report: report, errorRate: errorRate, seed: UInt64(seed))
                results.append(run.checkpoints)
                bytes = (run.weightBytes, run.stateBytes)
            }
            let seconds = (PhaseClock.processSeconds() - start) / Double(seeds)
            for (i, asked) in report.enumerated() {
                let pool = Self.summary(results.map { $0[i].pool })
                means[name, default: [:]][asked] = pool.mean
                print(
                    "\(name) @\(asked): pool \(pool.text), unseen \(Self.summary(results.map { $0[i].unseen }).text), "
                        + "test \(Self.summary(results.map { $0[i].test }).text), classes seen \(results.map { $0[i].classesSeen }.min() ?? 0)"
                )
            }
            print("\(name): \(Self.number(seconds)) CPU s a run, weights \(bytes.0) bytes, state \(bytes.1) bytes\n\(loop.clock.table())")
        }
        print("peak \(Self.number(PhaseClock.peakMemory())) MiB")
        let (margin, random) = (means["margin"]!, means["random"]!)
        #expect(margin[3000]! >= 95.5)
        #expect(margin[1950]! >= 89.5)
        #expect(margin[3000]! >= random[3000]! + 4)
    }

    /// 100,000 texts made of the 15,000 queries: a word dropped, and one of another query of the class put in.
    @Test func hundredThousandTexts() throws {
        guard let corpus = try Self.corpus() else { return }
        var generator = SeededGenerator(seed: 100_000)
        var byClass = [[Int]](repeating: [], count: corpus.names.count)
        for (i, label) in corpus.gold.enumerated() { byClass[label].append(i) }
        var (texts, gold): ([String], [Int]) = ([], [])
        for i in 0..<100_000 {
            let base = i % corpus.texts.count
            var words = corpus.texts[base].split(separator: " ")
            let siblings = byClass[corpus.gold[base]]
            let other = corpus.texts[siblings[generator.index(below: siblings.count)]].split(separator: " ")
            if words.count > 2 { words.remove(at: generator.index(below: words.count)) }
            if !other.isEmpty { words.insert(other[generator.index(below: other.count)], at: generator.index(below: words.count + 1)) }
            texts.append(words.joined(separator: " "))
            gold.append(corpus.gold[base])
        }
        let before = PhaseClock.peakMemory()
        let start = PhaseClock.processSeconds()
        var loop = try TextLoop(texts: texts, gold: gold, names: corpus.names, test: corpus.test, testGold: corpus.testGold)
        let run = try loop.run(
            policy: Acquisition.balancedMargin.policy, coldStart: ClassNameColdStart(),
            schedule: ReviewSchedule(budget: 3000, first: 150, rounds: 10), report: [3000], errorRate: 0, seed: 1)
        let featureBytes = loop.blocks.reduce(0) { $0 + $1.encode().count }
        print(
            "100,000 texts @3000: pool \(Self.number(run.checkpoints[0].pool)), \(Self.number(PhaseClock.processSeconds() - start)) CPU s, "
                + "features \(featureBytes) bytes, peak \(Self.number(PhaseClock.peakMemory())) MiB (before: \(Self.number(before)))\n\(loop.clock.table())"
        )
        #expect(PhaseClock.peakMemory() < 400)
    }
}
