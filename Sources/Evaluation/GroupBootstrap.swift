internal import Primitives

/// The percentile bootstrap over whole groups, seeded: images of one patient are drawn together, because they are not independent
/// (Field and Welsh 2007). Without groups every sample is its own.
package struct GroupBootstrap: Sendable {
    /// Of each sample.
    private let groups: [Int]
    private let groupCount: Int
    private let resamples: Int
    private let level: Double
    private let seed: UInt64

    /// - Parameter names: the group of each sample, in the order in which samples are counted.
    package init(groups names: [String], resamples: Int = 1000, level: Double = 0.95, seed: UInt64) {
        precondition(resamples > 1 && level > 0 && level < 1, "\(resamples) resamples at level \(level)")
        var numbers: [String: Int] = [:]
        groups = names.map { name in
            if let number = numbers[name] { return number }
            numbers[name] = numbers.count
            return numbers.count - 1
        }
        groupCount = numbers.count
        self.resamples = resamples
        self.level = level
        self.seed = seed
    }

    /// The interval of a statistic of weighted samples; nil where more than one resample in ten has no value, or there is one group only.
    ///
    /// - Parameter statistic: takes how often each sample was drawn; nil where it has no value.
    package func interval(_ statistic: ([Int]) -> Double?) -> Interval? {
        intervals { [statistic($0)] }[0]
    }

    /// The same for several statistics on the same resamples.
    package func intervals(_ statistics: ([Int]) -> [Double?]) -> [Interval?] {
        var generator = SeededGenerator(seed: seed, stream: "group-bootstrap")
        var values: [[Double]] = []
        var weights = [Int](repeating: 0, count: groups.count)
        for _ in 0..<resamples {
            var drawn = [Int](repeating: 0, count: groupCount)
            for _ in 0..<groupCount { drawn[generator.index(below: groupCount)] += 1 }
            for i in groups.indices { weights[i] = drawn[groups[i]] }
            let results = statistics(weights)
            if values.isEmpty { values = results.map { _ in [] } }
            for (k, value) in results.enumerated() { if let value { values[k].append(value) } }
        }
        return values.map { found in
            guard groupCount > 1, found.count * 10 >= resamples * 9 else { return nil }
            let sorted = found.sorted()
            func quantile(_ share: Double) -> Double {
                let place = share * Double(sorted.count - 1)
                let lower = Int(place)
                let upper = min(lower + 1, sorted.count - 1)
                return sorted[lower] + (place - Double(lower)) * (sorted[upper] - sorted[lower])
            }
            return Interval(low: quantile((1 - level) / 2), high: quantile(1 - (1 - level) / 2))
        }
    }
}

/// The area under the curve of true against false positives: how often a positive scores above a negative, ties by half
/// (Mann and Whitney 1947).
package struct RankedScores: Sendable {
    /// By score, lowest first; `index` counts samples as they were given.
    private let order: [(index: Int, score: Double, isPositive: Bool)]

    package init(_ scored: [(score: Double, isPositive: Bool)]) {
        order = scored.enumerated().map { ($0.offset, $0.element.score, $0.element.isPositive) }.sorted {
            ($0.1, $0.0) < ($1.1, $1.0)
        }
    }

    /// Whether any score differs from another: a constant puts nothing in order.
    package var ranks: Bool { order.first?.score != order.last?.score }

    /// Nil without both kinds.
    package var area: Double? { area(weights: [Int](repeating: 1, count: order.count)) }

    /// - Parameter weights: how often each sample counts, as they were given.
    package func area(weights: [Int]) -> Double? {
        var (below, wins, positives) = (0, 0, 0)
        var i = 0
        while i < order.count {
            var (tiedPositives, tiedNegatives) = (0, 0)
            let score = order[i].score
            while i < order.count, order[i].score == score {
                let weight = weights[order[i].index]
                if order[i].isPositive { tiedPositives += weight } else { tiedNegatives += weight }
                i += 1
            }
            wins += tiedPositives * (2 * below + tiedNegatives)
            below += tiedNegatives
            positives += tiedPositives
        }
        guard positives > 0, below > 0 else { return nil }
        return Double(wins) / 2 / (Double(positives) * Double(below))
    }
}
