import Evaluation
import Primitives
import Testing

@Suite struct ConfusionTests {
    /// Gold 0 0 0 1 1 2, labelled 0 0 1 1 – 0; class 3 never occurs.
    private func example() -> ConfusionCounts {
        var counts = ConfusionCounts(classCount: 4)
        counts.add(gold: [0, 0, 0, 1, 1, 2], predicted: [0, 0, 1, 1, nil, 0])
        return counts
    }

    @Test func abstentionsCountAsWrong() throws {
        let counts = example()
        #expect(counts.total == 6 && counts.covered == 5 && counts.correct == 3)
        #expect(counts.accuracy == 0.5)
        #expect(counts.coveredAccuracy == 0.6)
        #expect(counts.coverage == 5.0 / 6)
        #expect(ConfusionCounts(classCount: 2).accuracy == nil)
    }

    @Test func perClassScores() {
        let scores = example().perClass()
        #expect(scores[0].precision == 2.0 / 3 && scores[0].recall == 2.0 / 3 && scores[0].f1 == 2.0 / 3)
        #expect(scores[1].precision == 0.5 && scores[1].recall == 0.5)
        #expect(scores[2].f1 == 0 && scores[2].undefined, "never predicted: precision is 0/0")
        #expect(scores[3].f1 == 0 && scores[3].undefined, "never there: recall is 0/0")
        let macro = example().macroF1()
        #expect(abs(macro.value - (2.0 / 3 + 0.5) / 4) < 1e-12 && macro.undefinedClasses == 2)
        // Micro: 2·3 / (5 predicted + 6 samples).
        #expect(abs(example().microF1 - 6.0 / 11) < 1e-12)
    }

    @Test func microF1IsAccuracyUnderFullCoverage() {
        var counts = ConfusionCounts(classCount: 3)
        counts.add(gold: [0, 1, 2, 0], predicted: [0, 2, 2, 1])
        #expect(counts.microF1 == counts.accuracy)
    }

    @Test func blocksFoldAlikeInAnyOrder() {
        var generator = SeededGenerator(seed: 9)
        var fold = BlockFold<ProbabilityScores>()
        var reversed = BlockFold<ProbabilityScores>()
        var parts: [ProbabilityScores] = []
        for _ in 0..<20 {
            var part = ProbabilityScores()
            for _ in 0..<13 {
                let p = generator.uniform()
                part.add(probabilities: [p, 1 - p], gold: generator.index(below: 2))
            }
            parts.append(part)
        }
        for (block, part) in parts.enumerated() { fold.insert(part, block: block) }
        #expect(fold.blockCount == 20)
        for (block, part) in parts.enumerated().reversed() { reversed.insert(part, block: block) }
        let accepted = reversed.insert(parts[0], block: 7)
        #expect(!accepted, "a block that arrives twice changes nothing")
        // Equal to the last bit, not just nearly.
        #expect(fold.total(from: ProbabilityScores()) == reversed.total(from: ProbabilityScores()))

        var whole = ConfusionCounts(classCount: 2)
        whole.add(gold: [0, 1, 1], predicted: [0, 0, nil])
        var first = ConfusionCounts(classCount: 2)
        first.add(gold: 0, predicted: 0)
        var second = ConfusionCounts(classCount: 2)
        second.add(gold: [1, 1], predicted: [0, nil])
        first.merge(second)
        #expect(first == whole)
    }
}

@Suite struct CalibrationTests {
    @Test func errorOfAKnownGap() throws {
        // 100 samples at .9 of which 70 are right, 100 at .5 of which 50 are: ECE = ½·.2 + ½·0.
        var counts = CalibrationCounts()
        for i in 0..<100 { counts.add(confidence: 0.9, isCorrect: i < 70) }
        for i in 0..<100 { counts.add(confidence: 0.5, isCorrect: i < 50) }
        #expect(abs(try #require(counts.equalWidthECE()) - 0.1) < 1e-6)
        #expect(counts.equalWidthBins().map(\.count) == [100, 100])
        // With two bins of equal mass the groups are the same.
        #expect(abs(try #require(counts.equalMassECE(bins: 2)) - 0.1) < 1e-6)
        #expect(counts.equalMassBins().map(\.count).reduce(0, +) == 200)
        #expect(CalibrationCounts().equalWidthECE() == nil)
    }

    @Test func certaintyFallsInTheLastBin() {
        var counts = CalibrationCounts()
        counts.add(confidence: 1, isCorrect: true)
        counts.add(confidence: 0, isCorrect: false)
        #expect(counts.equalWidthBins().map(\.high) == [1.0 / 15, 1])
        #expect(counts.equalWidthECE() == 0)
    }

    @Test func calibratedSamplesHaveLittleError() throws {
        var generator = SeededGenerator(seed: 17)
        var counts = CalibrationCounts()
        var sharpened = CalibrationCounts()
        for _ in 0..<20_000 {
            let p = 0.5 + 0.5 * generator.uniform()
            let isCorrect = generator.uniform() < p
            counts.add(confidence: Float(p), isCorrect: isCorrect)
            sharpened.add(confidence: Float(1 - (1 - p) * (1 - p)), isCorrect: isCorrect)
        }
        #expect(try #require(counts.equalWidthECE()) < 0.015)
        // Claimed 1 − (1 − p)² for p: the mean gap is E[(1 − p) p] = 1/6 over [½, 1].
        #expect(abs(try #require(sharpened.equalMassECE()) - 1.0 / 6) < 0.015)
    }

    @Test func properScores() throws {
        var scores = ProbabilityScores()
        scores.add(probabilities: [0.7, 0.2, 0.1], gold: 0)
        #expect(abs(try #require(scores.brier) - 0.14) < 1e-12)
        #expect(abs(try #require(scores.negativeLogLikelihood) - 0.35667494393873245) < 1e-12)
        scores.add(probabilities: [0, 1, 0], gold: 0)
        #expect(abs(try #require(scores.negativeLogLikelihood) - (0.35667494393873245 + 27.631021115928547) / 2) < 1e-9)
        #expect(ProbabilityScores().brier == nil)
    }
}

@Suite struct LedgerTests {
    private func span(_ from: Int64, _ to: Int64) -> TaskSpan {
        TaskSpan(start: Instant(nanoseconds: from * 1_000_000_000), end: Instant(nanoseconds: to * 1_000_000_000))
    }

    @Test func overlappingTasksCountOnceInWallTime() {
        let spans = [span(10, 12), span(0, 4), span(1, 2), span(3, 6)]
        #expect(TaskSpan.wallSeconds(spans) == 8)
        #expect(TaskSpan.computeSeconds(spans) == 10)
        let stage = RunReport.Stage(name: "x", cachedTasks: 2, rows: 80, spans: spans)
        #expect(stage.tasks == 6 && stage.rowsPerSecond == 10)
        #expect(RunReport.Stage(name: "x", rows: 80, spans: []).rowsPerSecond == nil)
    }

    @Test func goldThatOnlyMeasuresIsNoEffort() throws {
        let ledger = RunReport.HumanLedger(
            entries: [
                .init(purpose: "review answers", answers: 100, seconds: 400),
                .init(purpose: "gold for measurement", answers: 5000, seconds: 0, countsTowardsBudget: false),
            ], secondsPerItem: 4, samples: 1000, isSimulated: true)
        #expect(ledger.budgetAnswers == 100 && ledger.humanSeconds == 400 && ledger.everythingSeconds == 4000)
        let stage = RunReport.Stage(name: "x", tasks: 1, rows: 1, wallSeconds: 1800, computeSeconds: 3600)
        let cost = try #require(
            RunReport.Cost(prices: PriceTable(currency: "EUR", perHumanHour: 18, perSlotHour: 0.5), ledger: ledger, stages: [stage]))
        #expect(abs(cost.total - (400.0 / 3600 * 18 + 0.5)) < 1e-12)
        #expect(cost.lines[0].what.contains("simulated"))
        #expect(RunReport.Cost(prices: PriceTable(currency: "EUR", perHumanHour: nil, perSlotHour: nil), ledger: ledger, stages: []) == nil)
    }
}
