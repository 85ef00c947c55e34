internal import Evaluation

/// How unevenly a classifier treats groups: by class, or by any column of metadata (site, sex, view, weather …).
package struct BiasScores: Sendable, Hashable, Codable {
    /// Mean of the groups' accuracies, each group counting the same.
    package var meanAccuracy: Double
    package var worstGroup: String
    package var worstAccuracy: Double
    package var accuracyByGroup: [String: Double]
    /// Largest difference between groups in how often a class is predicted: max_c (max_g P(ŷ=c|g) − min_g P(ŷ=c|g)).
    /// Of classes as groups it would say nothing; there it is max_c P(ŷ=c) − min_c P(ŷ=c).
    package var parityGap: Double
    /// Largest difference between groups in how often a class is recognised: max_c (max_g TPR − min_g TPR).
    package var opportunityGap: Double

    /// Groups are the gold classes themselves.
    ///
    /// - Parameter names: of the classes.
    package init(gold: [Int], predicted: [Int], classes names: [String]) {
        precondition(gold.count == predicted.count && !gold.isEmpty, "\(gold.count) gold labels, \(predicted.count) predictions")
        var (count, hit, said) = (
            [Int](repeating: 0, count: names.count), [Int](repeating: 0, count: names.count), [Int](repeating: 0, count: names.count)
        )
        for (truth, guess) in zip(gold, predicted) {
            count[truth] += 1
            said[guess] += 1
            if truth == guess { hit[truth] += 1 }
        }
        let present = names.indices.filter { count[$0] > 0 }
        let accuracy = Dictionary(
            present.map { (names[$0], Double(hit[$0]) / Double(count[$0])) }, uniquingKeysWith: { first, _ in first })
        let rates = names.indices.map { Double(said[$0]) / Double(gold.count) }
        let recalls = present.map { Double(hit[$0]) / Double(count[$0]) }
        self.init(
            accuracy: accuracy, parityGap: (rates.max() ?? 0) - (rates.min() ?? 0),
            opportunityGap: (recalls.max() ?? 0) - (recalls.min() ?? 0))
    }

    /// Groups are the values of a column.
    ///
    /// - Parameter minimum: samples of a class in a group below which its recognition there is not compared.
    package init(gold: [Int], predicted: [Int], classes: Int, groups: [String], minimum: Int = 5) {
        precondition(
            gold.count == predicted.count && groups.count == gold.count && !gold.isEmpty,
            "\(gold.count) gold labels, \(predicted.count) predictions, \(groups.count) groups")
        struct Tally {
            var count = 0
            var hits = 0
            var said: [Int]
            var truths: [Int]
            var found: [Int]
        }
        var tallies: [String: Tally] = [:]
        for i in gold.indices {
            var tally =
                tallies[groups[i]]
                ?? Tally(
                    said: [Int](repeating: 0, count: classes), truths: [Int](repeating: 0, count: classes),
                    found: [Int](repeating: 0, count: classes))
            tally.count += 1
            tally.said[predicted[i]] += 1
            tally.truths[gold[i]] += 1
            if gold[i] == predicted[i] {
                tally.hits += 1
                tally.found[gold[i]] += 1
            }
            tallies[groups[i]] = tally
        }
        func range(_ values: [Double]) -> Double { (values.max() ?? 0) - (values.min() ?? 0) }
        var (parity, opportunity) = (0.0, 0.0)
        for c in 0..<classes {
            parity = max(parity, range(tallies.values.map { Double($0.said[c]) / Double($0.count) }))
            let compared = tallies.values.filter { $0.truths[c] >= minimum }
            opportunity = max(opportunity, range(compared.map { Double($0.found[c]) / Double($0.truths[c]) }))
        }
        self.init(
            accuracy: tallies.mapValues { Double($0.hits) / Double($0.count) }, parityGap: parity, opportunityGap: opportunity)
    }

    private init(accuracy: [String: Double], parityGap: Double, opportunityGap: Double) {
        let worst = accuracy.min { ($0.value, $0.key) < ($1.value, $1.key) }
        accuracyByGroup = accuracy
        // In the order of names: sums must not hang on a dictionary's order.
        meanAccuracy = accuracy.sorted { $0.key < $1.key }.reduce(0) { $0 + $1.value } / Double(max(accuracy.count, 1))
        worstGroup = worst?.key ?? ""
        worstAccuracy = worst?.value ?? 0
        self.parityGap = parityGap
        self.opportunityGap = opportunityGap
    }

    /// Mean accuracy of frequent groups minus that of rare ones.
    package func headTailGap(head: [String], tail: [String]) -> Double {
        func mean(_ names: [String]) -> Double { names.reduce(0) { $0 + (accuracyByGroup[$1] ?? 0) } / Double(max(names.count, 1)) }
        return mean(head) - mean(tail)
    }
}

/// One measure with and without augmentation over seeds.
package struct GapComparison: Sendable, Hashable, Codable {
    package var baseline: [Double]
    package var treated: [Double]
    /// 1 − mean(treated) / mean(baseline): positive when the gap shrank.
    package var relativeReduction: Double
    /// Student's paired test over seeds, two-sided.
    package var p: Double
    /// Bootstrap (BCa) of the mean relative reduction by seed, 95 %.
    package var low: Double
    package var high: Double

    /// - Precondition: two seeds or more, and baselines that are not 0.
    package init(baseline: [Double], treated: [Double], seed: UInt64) {
        precondition(baseline.count == treated.count && baseline.count >= 2, "\(baseline.count) seeds against \(treated.count)")
        self.baseline = baseline
        self.treated = treated
        let (before, after) = (baseline.reduce(0, +), treated.reduce(0, +))
        relativeReduction = before == 0 ? 0 : 1 - after / before
        p = PairedTTest(baseline, treated)?.p ?? 1
        let bootstrap = PairedBootstrap(zip(baseline, treated).map { $0 == 0 ? 0 : 1 - $1 / $0 }, seed: seed)
        (low, high) = (bootstrap.bca.low, bootstrap.bca.high)
    }
}
