extension RunReport {
    /// The last point of a run whose answers fit into `fraction` of `samples`; nil when even the first does not.
    package static func point(_ run: ArmRun, within fraction: Double, of samples: Int) -> BudgetPoint? {
        // A budget of 13 % of 15,000 is 1,950 even where 0.13 · 15,000 lies a rounding error below.
        let budget = Int((fraction * Double(samples) + 1e-6).rounded(.down))
        return run.points.filter { $0.answersUsed <= budget }.max { $0.answersUsed < $1.answersUsed }
    }

    /// Fills `checkpoints` and `comparisons` from the arms' curves. Runs are paired by seed.
    package mutating func summarise() {
        checkpoints = []
        comparisons = []
        for fraction in checkpointFractions {
            for arm in arms {
                let points = arm.runs.compactMap { Self.point($0, within: fraction, of: dataset.samples) }
                guard let used = points.map(\.answersUsed).max() else { continue }
                checkpoints.append(
                    Checkpoint(
                        arm: arm.id, fraction: fraction, answersUsed: used, accuracy: Spread(points.compactMap(\.accuracy)),
                        unseenAccuracy: Spread(points.compactMap(\.unseenAccuracy)), macroF1: Spread(points.compactMap(\.macroF1)),
                        testAccuracy: Spread(points.compactMap(\.testAccuracy))))
            }
        }
        for fraction in checkpointFractions {
            for arm in arms {
                guard let name = arm.control, let control = arms.first(where: { $0.id == name }) else { continue }
                if let row = compare(arm, with: control, at: fraction) { comparisons.append(row) }
            }
        }
        let tested = comparisons.indices.filter { comparisons[$0].p != nil }
        for (index, adjusted) in zip(tested, MultipleTesting.holm(tested.compactMap { comparisons[$0].p })) {
            comparisons[index].holmP = adjusted
        }
    }

    private func compare(_ arm: Arm, with control: Arm, at fraction: Double) -> Comparison? {
        var differences: [Double] = []
        for run in arm.runs {
            guard let other = control.runs.first(where: { $0.seed == run.seed }),
                let mine = Self.point(run, within: fraction, of: dataset.samples)?.accuracy,
                let theirs = Self.point(other, within: fraction, of: dataset.samples)?.accuracy
            else { continue }
            differences.append(mine - theirs)
        }
        guard let spread = Spread(differences) else { return nil }
        let test = PairedTTest(differences: differences)
        return Comparison(
            arm: arm.id, control: control.id, fraction: fraction, difference: spread, t: test.flatMap { $0.t.isFinite ? $0.t : nil },
            degreesOfFreedom: test?.degreesOfFreedom, p: test?.p, holmP: nil, effectSize: test?.effectSize,
            zeroVariance: test?.zeroVariance ?? false)
    }
}
