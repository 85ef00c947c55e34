import Evaluation
import Primitives
import Testing

private func near(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool { abs(a - b) <= tolerance }

@Suite struct SpecialFunctionTests {
    /// Reference values of scipy.special.betainc; I_.3(10, 10) is published with the codeplea/incbeta code as well.
    @Test(arguments: [(0.3, 10.0, 10.0, 0.0325534), (0.3, 2, 0.5, 0.0378410), (0.5, 0.5, 0.5, 0.5)])
    func incompleteBetaMatchesReference(x: Double, a: Double, b: Double, expected: Double) {
        #expect(near(SpecialFunctions.regularizedIncompleteBeta(x, a, b), expected, 6e-8))
    }

    @Test func incompleteBetaHasItsClosedForms() {
        for x in stride(from: 0.0, through: 1.0, by: 0.05) {
            // I_x(1, b) = 1 − (1 − x)^b, I_x(a, 1) = x^a, and reflection.
            #expect(near(SpecialFunctions.regularizedIncompleteBeta(x, 1, 3), 1 - (1 - x) * (1 - x) * (1 - x), 1e-14))
            #expect(near(SpecialFunctions.regularizedIncompleteBeta(x, 2, 1), x * x, 1e-14))
            let sum = SpecialFunctions.regularizedIncompleteBeta(x, 3.5, 40) + SpecialFunctions.regularizedIncompleteBeta(1 - x, 40, 3.5)
            #expect(near(sum, 1, 1e-13))
        }
    }

    @Test func incompleteBetaIsABinomialTail() {
        // P(X ≥ k) for X ~ Binomial(n, p) is I_p(k, n − k + 1): sum the terms one by one.
        let n = 40
        let p = 0.17
        var term = 1.0
        for _ in 0..<n { term *= 1 - p }
        var tail = 1.0
        for k in 1...n {
            tail -= term
            term *= Double(n - k + 1) / Double(k) * p / (1 - p)
            #expect(near(SpecialFunctions.regularizedIncompleteBeta(p, Double(k), Double(n - k + 1)), tail, 1e-13), "k = \(k)")
        }
    }

    @Test func largeCountsConverge() {
        // Symmetric, so exactly one half whatever the size.
        for a in [1e3, 1e5, 1e6] { #expect(near(SpecialFunctions.regularizedIncompleteBeta(0.5, a, a), 0.5, 1e-8), "a = \(a)") }
    }

    @Test func inverseUndoesIt() {
        for (a, b) in [(0.5, 0.5), (6, 295), (1, 300), (40, 3)] as [(Double, Double)] {
            for p in [0.001, 0.05, 0.5, 0.95, 0.999] {
                let x = SpecialFunctions.inverseIncompleteBeta(p, a, b)
                #expect(near(SpecialFunctions.regularizedIncompleteBeta(x, a, b), p, 1e-12), "\(a), \(b), \(p)")
            }
        }
    }

    @Test func logGammaOfFactorials() {
        var factorial = 0.0
        for n in 1...170 {
            // ln n! built up by sums of logarithms through ln Γ(n + 1) − ln Γ(n) = ln n.
            let step = SpecialFunctions.logGamma(Double(n + 1)) - SpecialFunctions.logGamma(Double(n))
            factorial += step
        }
        // ln 170! = 706.5730622457874 (the largest factorial in double precision).
        #expect(near(factorial, 706.5730622457874, 1e-9))
        #expect(near(SpecialFunctions.logGamma(0.5), 0.5723649429247001, 1e-14))
        #expect(near(SpecialFunctions.logGamma(1), 0, 1e-14))
    }

    /// Table values: t at which the two-sided p with 4 degrees of freedom is .05, .01, .001.
    @Test(arguments: [(2.776445, 0.05), (4.604095, 0.01), (8.610302, 0.001)])
    func studentWithFourDegreesOfFreedom(t: Double, p: Double) {
        #expect(near(SpecialFunctions.studentTwoSidedP(t: t, degreesOfFreedom: 4), p, 2e-7))
        #expect(near(SpecialFunctions.studentTwoSidedP(t: -t, degreesOfFreedom: 4), p, 2e-7))
        #expect(near(SpecialFunctions.studentQuantile(twoSidedP: p, degreesOfFreedom: 4), t, 1e-5))
    }

    @Test func normalTable() {
        #expect(near(SpecialFunctions.normalCDF(1.959963984540054), 0.975, 1e-14))
        #expect(near(SpecialFunctions.normalQuantile(0.975), 1.959963984540054, 1e-12))
        #expect(near(SpecialFunctions.normalQuantile(0.5), 0, 1e-14))
        #expect(near(SpecialFunctions.normalQuantile(0.001), -3.090232306167813, 1e-11))
    }
}

@Suite struct IntervalTests {
    @Test func clopperPearsonAnchors() {
        #expect(near(Proportion.clopperPearsonUpper(successes: 0, trials: 300, delta: 0.05), 0.00994, 5e-6))
        #expect(near(Proportion.clopperPearsonUpper(successes: 5, trials: 300, delta: 0.05), 0.03472, 5e-6))
        // No success: the closed form 1 − δ^(1/n); δ = 0.05, n = 2.
        #expect(near(Proportion.clopperPearsonUpper(successes: 0, trials: 2, delta: 0.05), 1 - 0.05.squareRoot(), 1e-12))
        #expect(Proportion.clopperPearsonUpper(successes: 7, trials: 7, delta: 0.05) == 1)
        #expect(Proportion.clopperPearsonUpper(successes: 0, trials: 0, delta: 0.05) == 1)
        #expect(Proportion.clopperPearson(successes: 0, trials: 10).low == 0)
    }

    @Test func wilsonMatchesItsFormulaAtHalf() {
        // At a share of ½ the centre is ½ and the half-width z / (2 √(n + z²)).
        let interval = Proportion.wilson(successes: 50, trials: 100)
        let z = 1.959963984540054
        let half = z / (2 * (100 + z * z).squareRoot())
        #expect(near(interval.low, 0.5 - half, 1e-12) && near(interval.high, 0.5 + half, 1e-12))
        #expect(Proportion.wilson(successes: 0, trials: 0) == Interval(low: 0, high: 1))
        #expect(Proportion.wilson(successes: 0, trials: 20).low == 0)
        #expect(Proportion.wilson(successes: 20, trials: 20).high == 1)
    }

    @Test func clopperPearsonNeverCoversTooLittle() {
        // Exact coverage at several shares, summed over all outcomes of 30 trials.
        let n = 30
        for p in [0.02, 0.1, 0.37, 0.5, 0.93] {
            var term = 1.0
            for _ in 0..<n { term *= 1 - p }
            var covered = 0.0
            for k in 0...n {
                if Proportion.clopperPearson(successes: k, trials: n).contains(p) { covered += term }
                term *= Double(n - k) / Double(k + 1) * p / (1 - p)
            }
            #expect(covered >= 0.95, "p = \(p): \(covered)")
        }
    }

    @Test func bootstrapIntervalsCoverTheTruth() {
        // 300 experiments of 40 differences, each a sum of 12 products of two uniforms less its mean of 3 (a little skewed).
        // Two-sided 95 % intervals should cover 0 in about 94 % of them; one standard error of that share is 1.4 points.
        var generator = SeededGenerator(seed: 2024, stream: "coverage")
        var normal = 0
        var bca = 0
        let experiments = 300
        for experiment in 0..<experiments {
            let values = (0..<40).map { _ in (0..<12).reduce(0.0) { sum, _ in sum + generator.uniform() * generator.uniform() } - 3.0 }
            let bootstrap = PairedBootstrap(values, resamples: 400, seed: UInt64(experiment))
            if bootstrap.normal.contains(0) { normal += 1 }
            if bootstrap.bca.contains(0) { bca += 1 }
        }
        for covered in [normal, bca] {
            let share = Double(covered) / Double(experiments)
            #expect(share > 0.905 && share < 0.985, "covered \(share)")
        }
    }

    @Test func bcaLeansWithSkew() {
        // One large value in many small ones: the mean's distribution is skewed right and BCa follows, the normal interval cannot.
        let values = (0..<40).map { $0 == 0 ? 20.0 : 0.1 * Double($0 % 5) }
        let bootstrap = PairedBootstrap(values, resamples: 4000, seed: 3)
        #expect(bootstrap.bca.high - bootstrap.mean > 1.3 * (bootstrap.mean - bootstrap.bca.low))
        #expect(near(bootstrap.normal.high - bootstrap.mean, bootstrap.mean - bootstrap.normal.low, 1e-9))
        #expect(PairedBootstrap(values, resamples: 4000, seed: 3) == bootstrap)
        #expect(PairedBootstrap(values, resamples: 4000, seed: 4) != bootstrap)
        let flat = PairedBootstrap([0.5, 0.5, 0.5], resamples: 50, seed: 1)
        #expect(flat.bca == Interval(low: 0.5, high: 0.5))
    }

    @Test func spreadHasATInterval() throws {
        let spread = try #require(RunReport.Spread([1, 2, 3, 4, 5]))
        #expect(spread.mean == 3 && spread.minimum == 1 && spread.maximum == 5)
        #expect(near(spread.standardDeviation ?? 0, 2.5.squareRoot(), 1e-12))
        #expect(near((spread.high ?? 0) - 3, 2.776445 * (2.5 / 5).squareRoot(), 1e-5))
        let single = try #require(RunReport.Spread([0.9]))
        #expect(single.standardDeviation == nil && single.low == nil)
        #expect(RunReport.Spread([]) == nil)
    }
}

@Suite struct HypothesisTestTests {
    @Test func pairedTTestByHand() throws {
        // d = 1, 2, 3, 4: mean 2.5, sd √(5/3), t = 2.5 / (1.2909944/2) = 3.8729833; scipy.stats.ttest_rel gives p = 0.030466.
        let test = try #require(PairedTTest([2, 4, 6, 8], [1, 2, 3, 4]))
        #expect(near(test.t, 3.872983346, 1e-9))
        #expect(near(test.p, 0.030466, 1e-6))
        #expect(test.degreesOfFreedom == 3 && !test.zeroVariance)
        #expect(near(test.effectSize ?? 0, 1.936491673, 1e-9))
    }

    @Test func zeroVarianceIsSaid() throws {
        let same = try #require(PairedTTest([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]))
        #expect(same.p == 1 && same.t == 0 && same.zeroVariance && same.effectSize == nil)
        // The differences 0.1 carry rounding dust, which must not turn into a huge finite t.
        let shifted = try #require(PairedTTest([0.9, 0.8, 0.7], [0.8, 0.7, 0.6]))
        #expect(shifted.p == 0 && shifted.t == .infinity && shifted.zeroVariance)
        let worse = try #require(PairedTTest([0.8, 0.7, 0.6], [0.9, 0.8, 0.7]))
        #expect(worse.t == -.infinity)
        #expect(PairedTTest([0.5], [0.4]) == nil)
    }

    @Test func holmStepsDown() {
        let adjusted = MultipleTesting.holm([0.01, 0.04, 0.03, 0.005])
        let expected = [0.03, 0.06, 0.06, 0.02]
        for (a, b) in zip(adjusted, expected) { #expect(near(a, b, 1e-12)) }
        #expect(MultipleTesting.holm([0.6, 0.9]) == [1, 1])
        #expect(MultipleTesting.holm([]).isEmpty)
    }

    @Test func mcNemarIsTheSignTest() {
        // 1 against 9: 2 · (1 + 10) / 2¹⁰.
        #expect(near(McNemar(onlyFirstCorrect: 1, onlySecondCorrect: 9).p, 22.0 / 1024, 1e-12))
        #expect(near(McNemar(onlyFirstCorrect: 9, onlySecondCorrect: 1).p, 22.0 / 1024, 1e-12))
        #expect(McNemar(onlyFirstCorrect: 5, onlySecondCorrect: 5).p == 1)
        #expect(McNemar(onlyFirstCorrect: 0, onlySecondCorrect: 0).p == 1)
        let test = McNemar(firstCorrect: [true, true, false, true], secondCorrect: [true, false, true, false])
        #expect(test.onlyFirstCorrect == 2 && test.onlySecondCorrect == 1)
    }

    @Test func falsePositivesComeAtTheirRate() throws {
        // Under no difference, p ≤ .05 should happen in 5 % of 4,000 tests with n = 5 (one standard error: 0.35 points).
        var generator = SeededGenerator(seed: 5, stream: "null")
        var rejected = 0
        for _ in 0..<4000 {
            let differences = (0..<5).map { _ in (0..<12).reduce(-6.0) { sum, _ in sum + generator.uniform() } }
            if try #require(PairedTTest(differences: differences)).p <= 0.05 { rejected += 1 }
        }
        #expect(rejected > 140 && rejected < 260, "\(rejected) of 4000")
    }
}
