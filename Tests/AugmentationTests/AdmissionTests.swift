import Augmentation
import Kernels
import Primitives
import Testing

/// Rows of N(mean, deviation²) in `width` independent components.
private func gaussian(_ count: Int, _ width: Int, mean: Double = 0, deviation: Double = 1, seed: UInt64) -> FeatureRows {
    var noise = GaussianStream(SeededGenerator(seed: seed))
    return FeatureRows(width: width, values: (0..<count * width).map { _ in Float(mean + deviation * noise.next()) })
}

@Suite struct SymmetricTests {
    @Test func rootsSquareBack() {
        var generator = SeededGenerator(seed: 4)
        let n = 12
        let x = (0..<n * n).map { _ in generator.uniform() - 0.5 }
        var a = [Double](repeating: 0, count: n * n)
        for i in 0..<n { for j in 0..<n { for k in 0..<n { a[i * n + j] += x[i * n + k] * x[j * n + k] } } }
        let root = Symmetric.squareRoot(a, n)
        for i in 0..<n {
            for j in 0..<n {
                let sum = (0..<n).reduce(0.0) { $0 + root[i * n + $1] * root[$1 * n + j] }
                #expect(abs(sum - a[i * n + j]) < 1e-10)
            }
        }
        let b = (0..<n).map { Double($0) }
        var ridged = a
        for i in 0..<n { ridged[i * n + i] += 1 }
        let solution = Symmetric.solve(ridged, b)
        for i in 0..<n { #expect(abs((0..<n).reduce(0.0) { $0 + ridged[i * n + $1] * solution[$1] } - b[i]) < 1e-9) }
    }
}

@Suite struct FidelityTests {
    static let device = CPUDevice(lanes: 1)

    @Test func frechetOfGaussiansIsItsFormula() {
        // Exactly, for diagonal covariances: Σ (m₁ − m₂)² + (s₁ − s₂)². Samples of 4,000 come near.
        let (a, b) = (gaussian(4000, 3, seed: 1), gaussian(4000, 3, mean: 2, deviation: 3, seed: 2))
        #expect(abs(FrechetDistance.between(a, b) - 3 * (4 + 4)) < 1.2)
        #expect(FrechetDistance.between(a, a) < 1e-9)
        #expect(FrechetDistance.between(a, gaussian(4000, 3, seed: 3)) < 0.02)
    }

    @Test func neighboursTellTwinsFromStrangers() {
        let real = gaussian(400, 4, seed: 1)
        let same = NeighbourScores(real: real, synthetic: gaussian(400, 4, seed: 2), on: Self.device)
        #expect(same.precision > 0.85 && same.recall > 0.85 && same.coverage > 0.85 && (0.8...1.25).contains(same.density))
        let far = NeighbourScores(real: real, synthetic: gaussian(400, 4, mean: 30, seed: 2), on: Self.device)
        #expect(far == NeighbourScores(precision: 0, recall: 0, density: 0, coverage: 0))
        // All in one spot in the middle: they look real, and show nothing of the variety.
        let narrow = NeighbourScores(real: real, synthetic: gaussian(400, 4, deviation: 0.05, seed: 2), on: Self.device)
        #expect(narrow.precision > 0.95 && narrow.recall < 0.1 && narrow.coverage < 0.4)
    }

    @Test func radiiAreThoseOfTheSlowTwin() {
        let rows = gaussian(60, 3, seed: 8)
        // A row of its own, and one ball that holds exactly its five neighbours.
        let scores = NeighbourScores(real: rows, synthetic: rows, neighbours: 5, on: Self.device)
        #expect(scores.precision == 1 && scores.recall == 1 && scores.coverage == 1)
        // Itself and four nearer than the fifth: five a ball, over k = 5.
        #expect(abs(scores.density - 1) < 1e-9)
    }

    @Test func copiesAreSeen() {
        let (training, heldOut) = (gaussian(300, 5, seed: 1), gaussian(300, 5, seed: 2))
        let honest = Memorisation(training: training, heldOut: heldOut, synthetic: gaussian(300, 5, seed: 3), on: Self.device)
        #expect((0.9...1.1).contains(honest.ratio) && honest.copies <= 1)
        let copied = Memorisation(
            training: training, heldOut: heldOut, synthetic: FeatureRows(width: 5, values: training.values.map { $0 + 1e-3 }),
            on: Self.device)
        #expect(copied.ratio < 0.01 && copied.copies == 300)
    }

    @Test func aClassifierTellsWhatDiffers() {
        let real = gaussian(800, 6, seed: 1)
        let same = TwoSampleTest(real: real, synthetic: gaussian(800, 6, seed: 2), seed: 3)
        #expect((0.43...0.57).contains(same.accuracy) && same.p > 0.01 && same.trials == 800)
        let shifted = TwoSampleTest(real: real, synthetic: gaussian(500, 6, mean: 0.8, seed: 2), seed: 3)
        #expect(shifted.accuracy > 0.75 && shifted.p < 1e-6)
    }
}

@Suite struct AdmissionPolicyTests {
    static let device = CPUDevice(lanes: 1)

    /// Two classes at ±3 in the first component; the judge knows them.
    static func evidence(_ synthetic: FeatureRows, probability: Float = 0.95, images: (Int) -> [UInt8]) -> AdmissionEvidence {
        var real = gaussian(400, 4, seed: 1)
        for row in 0..<400 { real.values[row * 4] += row % 2 == 0 ? -3 : 3 }
        var heldOut = gaussian(100, 4, seed: 2)
        for row in 0..<100 { heldOut.values[row * 4] += row % 2 == 0 ? -3 : 3 }
        let samples = (0..<synthetic.count).map { row in
            let isSecond = row % 2 == 1
            return SyntheticSample(method: .classPosterior, parents: [], label: isSecond ? [0, 1] : [1, 0], image: images(row))
        }
        let probabilities = (0..<synthetic.count).flatMap { row in
            row % 2 == 1 ? [1 - probability, probability] : [probability, 1 - probability]
        }
        return AdmissionEvidence(
            real: real, realLabels: (0..<400).map { $0 % 2 }, heldOut: heldOut, heldOutLabels: (0..<100).map { $0 % 2 },
            synthetic: synthetic, probabilities: probabilities, samples: samples, realCounts: [200, 200])
    }
    static func twoClasses(_ count: Int, shift: Float = 3, seed: UInt64) -> FeatureRows {
        var rows = gaussian(count, 4, seed: seed)
        for row in 0..<count { rows.values[row * 4] += row % 2 == 0 ? -shift : shift }
        return rows
    }
    static func unique(_ row: Int) -> [UInt8] { [UInt8(row >> 8), UInt8(row & 255)] }

    @Test func goodSamplesAreAdmitted() throws {
        let (report, kept) = try Admission.judge(
            Self.evidence(Self.twoClasses(300, seed: 7), images: Self.unique), method: "class-posterior", seed: 1, on: Self.device)
        #expect(report.isAdmitted && report.reasons.isEmpty && kept.count == report.kept)
        #expect(kept.count >= 298 && report.keptByClass.reduce(0, +) == kept.count && report.labelConsistency == 1)
    }

    @Test func strangersAreRefusedWithReasons() throws {
        let (report, kept) = try Admission.judge(
            Self.evidence(Self.twoClasses(300, shift: 40, seed: 7), images: Self.unique), method: "prior", seed: 1, on: Self.device)
        #expect(!report.isAdmitted && kept.isEmpty && report.kept == 0)
        #expect(report.reasons.contains { $0.contains("lie among real samples") })
        #expect(report.reasons.contains { $0.contains("Fréchet") })
    }

    /// A row for what was refused, only where something was, and only that row learned from it.
    @Test func anAuditSaysWhatARefusalWasWorth() throws {
        func report(_ shift: Float) throws -> AdmissionReport {
            try Admission.judge(
                Self.evidence(Self.twoClasses(300, shift: shift, seed: 7), images: Self.unique), method: "jitter", seed: 1,
                on: Self.device
            ).report
        }
        func arm(_ name: String, wrong: Int, _ admission: [AdmissionReport]) -> AuditedArm {
            let predicted = (0..<20).map { $0 < wrong ? 1 - $0 % 2 : $0 % 2 }
            let scores = BiasScores(gold: (0..<20).map { $0 % 2 }, predicted: predicted, classes: ["a", "b"])
            return AuditedArm(name: name, trainingSamples: 20, scores: scores, headTailGap: Double(wrong + 1) / 20, admission: admission)
        }
        let despite = AugmentationAudit.despiteRefusal("jitter")
        let good = [arm("none", wrong: 4, []), arm("jitter", wrong: 2, [try report(3)]), arm(despite, wrong: 2, [try report(3)])]
        let bad = [arm("none", wrong: 4, []), arm("jitter", wrong: 4, [try report(40)]), arm(despite, wrong: 9, [try report(40)])]
        let calm = try AugmentationAudit(seeds: [1, 2], runs: [good, good])
        #expect(calm.rows.map(\.name) == ["none", "jitter"] && calm.rows[1].admittedSeeds == 2)
        let mixed = try AugmentationAudit(seeds: [1, 2], runs: [good, bad])
        #expect(mixed.rows.map(\.name) == ["none", "jitter", despite] && mixed.rows[1].admittedSeeds == 1)
        #expect(mixed.rows[2].meanAccuracy < mixed.rows[1].meanAccuracy)
        #expect(mixed.markdown().contains("| \(despite) |"))
    }

    @Test func wrongLabelsAreRefused() throws {
        let (report, _) = try Admission.judge(
            Self.evidence(Self.twoClasses(300, seed: 7), probability: 0.1, images: Self.unique), method: "any", seed: 1, on: Self.device)
        #expect(!report.isAdmitted && report.droppedDoubtful > 290 && report.labelConsistency == 0)
        #expect(report.reasons.contains { $0.contains("judge") })
    }

    @Test func duplicatesCopiesAndSurplusAreDroppedOneByOne() throws {
        var synthetic = Self.twoClasses(300, seed: 7)
        let base = Self.evidence(synthetic, images: Self.unique)
        // Sample 5 copies training row 1 of its class.
        synthetic.values.replaceSubrange(20..<24, with: base.real.values[4..<8])
        var policy = AdmissionPolicy()
        policy.maximumRatio = 0.5
        // Images 10 and 12 are one picture.
        let (report, kept) = try Admission.judge(
            Self.evidence(synthetic, images: { Self.unique($0 == 12 ? 10 : $0) }), method: "any", policy: policy, seed: 1, on: Self.device)
        #expect(report.droppedDuplicates == 1 && report.droppedCopies >= 1 && !kept.contains(12) && !kept.contains(5))
        #expect(report.keptByClass == [100, 100] && report.droppedOverQuota > 90)
    }

    @Test func samplesOfOneClassAreComparedWithThatClass() throws {
        // Only the second class is offered: compared with both it would be a stranger to half of the real samples.
        let rows = Self.twoClasses(400, seed: 7)
        let evidence = Self.evidence(rows, images: Self.unique)
        let second = (0..<400).filter { $0 % 2 == 1 }
        let (report, _) = try Admission.judge(
            AdmissionEvidence(
                real: evidence.real, realLabels: evidence.realLabels, heldOut: evidence.heldOut, heldOutLabels: evidence.heldOutLabels,
                synthetic: rows.rows(second), probabilities: second.flatMap { _ in [0.05, 0.95] as [Float] },
                samples: second.map { evidence.samples[$0] }, realCounts: [200, 200]), method: "any", seed: 1, on: Self.device)
        #expect(report.isAdmitted && report.compared == 200 && report.neighbours.coverage > 0.8 && report.frechet < 1)
    }

    @Test func tooFewAreNoEvidence() {
        #expect(throws: AMAFError.self) {
            try Admission.judge(Self.evidence(Self.twoClasses(6, seed: 7), images: Self.unique), method: "any", seed: 1, on: Self.device)
        }
    }
}

@Suite struct BiasAuditTests {
    @Test func classesAsGroups() {
        // a: 4 of 4 right; b: 1 of 2 right, the other called a.
        let scores = BiasScores(gold: [0, 0, 0, 0, 1, 1], predicted: [0, 0, 0, 0, 1, 0], classes: ["a", "b"])
        #expect(scores.worstGroup == "b" && scores.worstAccuracy == 0.5 && scores.meanAccuracy == 0.75)
        #expect(abs(scores.parityGap - (5.0 / 6 - 1.0 / 6)) < 1e-12 && scores.opportunityGap == 0.5)
        #expect(scores.headTailGap(head: ["a"], tail: ["b"]) == 0.5)
    }
    @Test func metadataAsGroups() {
        // Site x: class 1 is said in 3 of 4; site y: in 1 of 4. Class 1 is recognised in 2 of 2 and in 1 of 2.
        let scores = BiasScores(
            gold: [1, 1, 0, 0, 1, 1, 0, 0], predicted: [1, 1, 1, 0, 1, 0, 0, 0], classes: 2,
            groups: ["x", "x", "x", "x", "y", "y", "y", "y"], minimum: 2)
        #expect(scores.parityGap == 0.5 && scores.opportunityGap == 0.5 && scores.accuracyByGroup == ["x": 0.75, "y": 0.75])
        // With too few of a class in a group, its recognition is not compared.
        let thin = BiasScores(
            gold: [1, 1, 0, 0, 1, 1, 0, 0], predicted: [1, 1, 1, 0, 1, 0, 0, 0], classes: 2,
            groups: ["x", "x", "x", "x", "y", "y", "y", "y"], minimum: 3)
        #expect(thin.opportunityGap == 0)
    }
    @Test func reductionsComeWithTheirEvidence() {
        let real = GapComparison(baseline: [0.20, 0.22, 0.21, 0.19, 0.20], treated: [0.15, 0.16, 0.16, 0.14, 0.15], seed: 1)
        #expect(abs(real.relativeReduction - (1 - 0.76 / 1.02)) < 1e-12 && real.p < 0.001 && real.low > 0.2 && real.high < 0.3)
        let noise = GapComparison(baseline: [0.20, 0.22, 0.21, 0.19, 0.20], treated: [0.22, 0.20, 0.19, 0.21, 0.20], seed: 1)
        #expect(noise.p > 0.5 && noise.low < 0 && noise.high > 0)
    }
}
