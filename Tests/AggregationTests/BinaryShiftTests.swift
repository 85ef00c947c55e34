import Aggregation
import Foundation
import Primitives
import Testing

@Suite struct BinaryShiftTests {
    /// P(yes) as a source says it, and answers drawn from what it should have said.
    private func reviewed(_ n: Int, slope: Double, intercept: Double, seed: UInt64) -> [(p: Double, isYes: Bool)] {
        var generator = SeededGenerator(seed: seed)
        return (0..<n).map { _ in
            let x = 6 * generator.uniform() - 3
            let truth = 1 / (1 + exp(-(slope * x + intercept)))
            return (1 / (1 + exp(-x)), generator.uniform() < truth)
        }
    }

    private func loss(_ shift: BinaryShift, _ fresh: [(p: Double, isYes: Bool)]) -> Double {
        fresh.reduce(0) { sum, sample in
            let q = shift.apply(sample.p)
            return sum - log(max(1e-9, sample.isYes ? q : 1 - q))
        } / Double(fresh.count)
    }

    @Test(arguments: [(1.0, -1.5), (1.0, 2.0), (0.5, 0.8), (2.0, -1.0)])
    func plantedShiftsAreRecovered(slope: Double, intercept: Double) {
        let (shift, evidence) = BinaryShift.fit(reviewed(2000, slope: slope, intercept: intercept, seed: 3))
        #expect(abs(shift.slope - slope) < 0.2 && abs(shift.intercept - intercept) < 0.25, "\(shift)")
        #expect(evidence.map(\.name) == ["none", "intercept", "slope and intercept"])
        let fresh = reviewed(4000, slope: slope, intercept: intercept, seed: 4)
        #expect(loss(shift, fresh) < loss(.identity, fresh) - 0.01)
    }

    @Test func whatIsRightIsLeftAlone() {
        var kept = 0
        for seed in 1...20 as ClosedRange<UInt64> {
            let shift = BinaryShift.fit(reviewed(100, slope: 1, intercept: 0, seed: seed)).shift
            if shift == .identity { kept += 1 }
            let fresh = reviewed(2000, slope: 1, intercept: 0, seed: 100 + seed)
            #expect(loss(shift, fresh) < loss(.identity, fresh) + 0.12, "a shift fitted by luck must be small")
        }
        #expect(kept >= 6, "\(kept) of 20")
    }

    @Test func fewAnswersShiftNothing() {
        #expect(BinaryShift.fit(reviewed(BinaryShift.leastReviewed - 1, slope: 1, intercept: 2, seed: 1)).shift == .identity)
        let oneSided = (0..<200).map { (p: 0.4, isYes: $0 < BinaryShift.leastOfEach - 1) }
        #expect(BinaryShift.fit(oneSided).shift == .identity && BinaryShift.fit(oneSided).evidence.isEmpty)
        #expect(BinaryShift.identity.apply(0.3) == 0.3)
        let separable = (0..<200).map { (p: $0 < 100 ? 0.2 : 0.8, isYes: $0 >= 100) }
        let shift = BinaryShift.fit(separable).shift
        #expect(shift.apply(0.8) > 0.9 && shift.apply(0.2) < 0.1 && shift.apply(0.8).isFinite)
    }
}
