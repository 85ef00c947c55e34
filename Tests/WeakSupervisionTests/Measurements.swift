import Foundation
import Primitives
import Testing
import WeakSupervision

/// Seconds of this thread's processor time: the machine that measures is rarely idle.
func processorSeconds(_ body: () throws -> Void) rethrows -> Double {
    func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
    let start = now()
    try body()
    return now() - start
}

/// Numbers for docs, not pass or fail: AMAF_MEASURE=1 swift test -c release --filter Measurements
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["AMAF_MEASURE"] != nil))
struct Measurements {
    static let words = """
        please can you tell me what the balance of my account is and transfer money to savings card lost stolen report travel flight book hotel \
        weather today tomorrow alarm set timer play music song next what is exchange rate dollars euro pay bill due date recipe cook dinner \
        translate spanish french how do i say joke tell fun fact meeting schedule calendar remind shopping list add order status credit limit \
        score apply rewards points insurance oil change tire pressure gas mileage car rental uber traffic directions
        """.split(separator: " ").map(String.init)

    /// The rule set of the peers' benchmark: six keyword functions and four patterns over 100,000 short texts.
    @Test func labelingFunctionThroughput() throws {
        var chance = SeededGenerator(seed: 0)
        let texts = (0..<100_000).map { _ -> String? in
            (0..<5 + chance.index(below: 10)).map { _ in Self.words[chance.index(below: Self.words.count)] }.joined(separator: " ")
        }
        let classes = (0..<10).map { "c\($0)" }
        let keywords = [["balance"], ["lost", "stolen"], ["flight", "hotel"], ["weather"], ["alarm", "timer"], ["translate"]]
        let patterns = [
            #"\b(pay|due)\s+(bill|date)\b"#, #"\bexchange\s+rate\b|\b(dollars?|euros?)\b"#,
            "(?:remind|schedule).{0,20}(?:meeting|calendar)",
            #"^(please|can)\b.*\b(song|music)\b"#,
        ]
        let specs =
            keywords.enumerated().map { i, terms in
                LabelingFunctionSpec(
                    name: "k\(i)", kind: .keywords(KeywordRule(className: classes[i], terms: terms, wordBoundaries: false)))
            }
            + patterns.enumerated().map { i, pattern in
                LabelingFunctionSpec(name: "r\(i)", kind: .regex(RegexRule(className: classes[6 + i], pattern: pattern)))
            }
        let set = try LabelingFunctionSet(specs: specs, classNames: classes)
        let blocks = stride(from: 0, to: texts.count, by: 4096).map { Array(texts[$0..<min(texts.count, $0 + 4096)]) }
        for _ in 0..<3 {
            var votes = 0
            let time = processorSeconds {
                for block in blocks { for column in set.apply(texts: block).columns { column.votes.forEach { _, _ in votes += 1 } } }
            }
            print("lf apply: \(Int(Double(texts.count) / time)) rows/s, \(votes) votes, 10 functions, one thread")
        }
    }

    /// AMAF_LF_JSON: configs/labeling-functions/clinc150.yaml as JSON; AMAF_CLINC_JSON: data_full.json.
    @Test func clinc150() throws {
        let environment = ProcessInfo.processInfo.environment
        guard let functions = environment["AMAF_LF_JSON"].flatMap({ FileManager.default.contents(atPath: $0) }),
            let data = environment["AMAF_CLINC_JSON"].flatMap({ FileManager.default.contents(atPath: $0) })
        else { return }
        struct File: Decodable { var functions: [LabelingFunctionSpec] }
        let specs = try JSONDecoder().decode(File.self, from: functions).functions
        let splits = try JSONDecoder().decode([String: [[String]]].self, from: data)
        let train = splits["train"] ?? []
        let classes = Set(train.map { $0[1] }).sorted()
        let gold = train.map { row in classes.firstIndex(of: row[1]) ?? -1 }
        let set = try LabelingFunctionSet(specs: specs, classNames: classes)
        var matrix = LabelMatrix(classCount: classes.count, functions: set.ids)
        let time = try ContinuousClock().measure {
            for first in stride(from: 0, to: train.count, by: 256) {
                try matrix.insert(set.apply(texts: train[first..<min(train.count, first + 256)].map { $0[0] }, firstSample: first))
            }
        }
        let analysis = LFAnalysis(LFStatistics(matrix) { gold[$0] })
        print("clinc150: \(train.count) rows, apply \(time), coverage \(analysis.coverage), conflict \(analysis.conflict)")
        for row in analysis.rows { print("  \(row.function): coverage \(row.coverage), accuracy \(row.empiricalAccuracy)") }
        for kind in LabelModelKind.allCases {
            let clock = ContinuousClock()
            let start = clock.now
            guard let model = try? LabelModelFit.fit(matrix, options: LabelModelOptions(kind: kind)) else { continue }
            var right = 0
            var covered = 0
            for block in matrix.blocks {
                let p = model.posteriors(of: VoteRows(block, classCount: classes.count))
                for row in 0..<p.rowCount where p.isCovered(row: row) {
                    covered += 1
                    if p.firstChoice(row: row) == gold[block.firstSample + row] { right += 1 }
                }
            }
            print(
                "  \(kind.rawValue): accuracy on covered \(Double(right) / Double(covered)), on all \(Double(right) / Double(train.count)), \(start.duration(to: clock.now)), \(model.iterations) steps, accuracies \(model.accuracies.prefix(3))"
            )
        }
    }

    /// The cells of the peers' benchmark: planted accuracies from 0.55 to 0.9, coverage 0.3.
    @Test func labelModelSpeed() throws {
        for (n, m, k, kind) in [
            (100_000, 50, 2, LabelModelKind.mapEM), (1_000_000, 50, 2, .mapEM), (1_000_000, 50, 2, .logLinear),
            (100_000, 10, 150, .logLinear),
            (1_000_000, 10, 150, .logLinear),
        ] {
            let planted = SyntheticLabelMatrix(samples: n, classCount: k, accuracies: SyntheticLabelMatrix.spread(m), seed: 1)
            let (matrix, truth) = try planted.make()
            var model: FittedLabelModel?
            var posteriors: [PosteriorBlock] = []
            var fit: LabelModelFit?
            let pack = processorSeconds { fit = LabelModelFit(matrix) }
            let learn = try processorSeconds { model = try fit?.fit(LabelModelOptions(kind: kind)) }
            guard let model, let fit else { return }
            let predict = processorSeconds { posteriors = fit.blocks.map { model.posteriors(of: $0) } }
            let score = LabelModelScore(k == 2 ? posteriors : Array(posteriors.prefix(8)), balance: model.classBalance) { truth[$0] }
            // The oracle knows every accuracy.
            var oracle = model
            oracle.replaceAccuracies(planted.accuracies)
            let best = LabelModelScore(fit.blocks.prefix(k == 2 ? 200 : 8).map { oracle.posteriors(of: $0) }, balance: model.classBalance) {
                truth[$0]
            }
            print(
                "label model \(kind.rawValue) n \(n) m \(m) k \(k): pack \(pack) s, fit \(learn) s (\(model.iterations) steps), predict \(predict) s, accuracy \(score.all.accuracy), oracle \(best.all.accuracy), peak \(peakMiB()) MiB"
            )
            if n == 1_000_000, kind == .mapEM {
                let all = try processorSeconds { print(try LabelModelSelection.choose(LabelModelFit(matrix)).evidence.markdown) }
                print("auto in all: \(all) s")
            }
        }
    }

    func peakMiB() -> Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(separator: " ").compactMap { Int($0) }.first ?? 0) / 1024
    }

    @Test func autoOnSharedSets() throws {
        for name in ["youtube", "sms", "sms-repaired", "trec"] {
            guard let result = try SharedSets.auto(name) else { return }
            func line(_ part: LabelModelScore.Part) -> String {
                "accuracy \(part.accuracy), F1 \(part.f1), log loss \(part.logLoss), ECE \(part.calibrationError)"
            }
            print(
                "\(name): auto \(line(result.auto.all)); majority \(line(result.majority.all)); \(result.seconds) s\n\(result.evidence.markdown)"
            )
        }
    }

    @Test func autoOnCrowds() throws {
        for name in ["adult-5", "cf", "dog", "fact-eval", "product", "sentiment", "sp", "web", "zencrowd-all", "zencrowd-in"] {
            guard let (scores, evidence) = try SharedSets.crowd(name) else { return }
            print("\(name): " + scores.map { "\($0) \((($1) * 10_000).rounded() / 100)" }.joined(separator: ", ") + "; " + evidence.reason)
        }
    }
}
