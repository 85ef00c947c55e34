package import Evaluation
internal import Primitives

/// Whether labels are as good for every group of a metadata column (sex, view, site, age …): how accurate they are in each, and how far
/// groups lie apart, with intervals and with what chance alone would do.
///
/// A gap is a largest difference, so it is above 0 even where groups do not matter. Three numbers keep that honest: the interval is of the
/// difference between the two groups that the gap was found at (bootstrap, clusters drawn whole); `chance` is the mean gap when
/// groups are dealt out anew at random; p is how often such a gap is at least as large.
package struct GroupAudit: Hashable, Sendable, Codable {
    package struct Settings: Hashable, Sendable {
        /// Judged samples below which a group is named and not compared.
        package var minimumSamples = 20
        /// Samples of a class in a group below which its recognition there is not compared.
        package var minimumOfClass = 10
        package var resamples = 1000
        package var level = 0.95
        package var seed: UInt64 = 1

        package init() {}
    }
    /// One sample that has both a label and a known truth.
    package struct Row: Hashable, Sendable {
        package var gold: Int
        package var predicted: Int
        package var group: String
        /// What is drawn together (a patient); its own id where nothing is.
        package var cluster: String

        package init(gold: Int, predicted: Int, group: String, cluster: String) {
            self.gold = gold
            self.predicted = predicted
            self.group = group
            self.cluster = cluster
        }
    }
    package struct Group: Hashable, Sendable, Codable {
        package var name: String
        package var samples: Int
        package var right: Int
        /// Wilson's, 95 %; it takes samples for independent.
        package var interval: Interval
        /// Too few samples to be compared.
        package var isTooSmall: Bool
        package var accuracy: Double { samples > 0 ? Double(right) / Double(samples) : 0 }
    }
    package struct Gap: Hashable, Sendable, Codable {
        package var value: Double
        /// Of the difference between `high` and `low`; nil where too many resamples leave one of them empty.
        package var interval: Interval?
        package var chance: Double
        package var p: Double
        /// The groups, or for head and tail the sets of groups, that lie farthest apart.
        package var high: String
        package var low: String
        /// The class at which they do; nil where no class is meant.
        package var className: String?
        /// The same difference of the true labels where the gap is one of predicted rates: groups that truly differ should.
        package var truth: Double?
    }
    package var column: String
    /// Most frequent first.
    package var groups: [Group]
    package var worst: String?
    /// Best group's accuracy minus worst group's.
    package var accuracyGap: Gap?
    /// Mean accuracy of the more frequent half of the groups minus that of the others.
    package var headTailGap: Gap?
    /// max over classes of (max over groups P(ŷ = c) − min over groups): demographic parity.
    package var parityGap: Gap?
    /// The same of P(ŷ = c | y = c): equal opportunity.
    package var opportunityGap: Gap?
    /// Groups in which some class has too few samples for `opportunityGap`, with the class.
    package var notCompared: [String]

    /// - Parameters:
    ///   - classes: names.
    ///   - positive: of two classes the one that parity and opportunity are about; nil compares every class.
    package init(column: String, rows: [Row], classes: [String], positive: Int? = nil, _ settings: Settings = Settings()) {
        self.column = column
        let comparison = GroupComparison(rows, classes: classes.count, positive: positive, settings)
        let counts = comparison.counted
        groups = comparison.names.indices.map { g in
            Group(
                name: comparison.names[g], samples: counts.samples[g], right: counts.right[g],
                interval: Proportion.wilson(successes: counts.right[g], trials: counts.samples[g], level: settings.level),
                isTooSmall: !comparison.compared.contains(g))
        }
        let measured = comparison.measured(classNames: classes)
        accuracyGap = measured.accuracy
        worst = measured.accuracy?.low
        headTailGap = measured.headTail
        parityGap = measured.parity
        opportunityGap = measured.opportunity
        notCompared = comparison.judgedClasses.flatMap { c in
            comparison.compared.filter { counts.truths[$0][c] < settings.minimumOfClass }.map {
                "\(comparison.names[$0]): \(counts.truths[$0][c]) of '\(classes[c])'"
            }
        }
    }
}

/// The counting behind an audit: the same for the data, for resamples of clusters and for groups dealt out anew.
private struct GroupComparison {
    struct Counts {
        var samples: [Int]
        var right: [Int]
        /// (groups, classes): predicted, true, and both.
        var said: [[Int]]
        var truths: [[Int]]
        var found: [[Int]]
    }
    /// A gap and where it lies.
    struct Found {
        var value: Double
        var high: [Int]
        var low: [Int]
        var classIndex: Int?
    }

    let rows: [GroupAudit.Row]
    let classes: Int
    let settings: GroupAudit.Settings
    /// Most frequent first, equal ones by name.
    let names: [String]
    let groupOf: [Int]
    let judgedClasses: [Int]
    private(set) var compared: [Int] = []
    private(set) var counted: Counts
    /// Per class the groups whose recognition of it is compared.
    private var opportunityGroups: [[Int]] = []

    init(_ rows: [GroupAudit.Row], classes: Int, positive: Int?, _ settings: GroupAudit.Settings) {
        self.rows = rows
        self.classes = classes
        self.settings = settings
        judgedClasses = positive.map { [$0] } ?? Array(0..<classes)
        var sizes: [String: Int] = [:]
        for row in rows { sizes[row.group, default: 0] += 1 }
        names = sizes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
        let numbers = Dictionary(names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        groupOf = rows.map { numbers[$0.group] ?? 0 }
        counted = Counts(samples: [], right: [], said: [], truths: [], found: [])
        counted = count(groupOf, nil)
        compared = names.indices.filter { counted.samples[$0] >= settings.minimumSamples }
        opportunityGroups = (0..<classes).map { c in compared.filter { counted.truths[$0][c] >= settings.minimumOfClass } }
    }

    func count(_ groups: [Int], _ weights: [Int]?) -> Counts {
        let table = [[Int]](repeating: [Int](repeating: 0, count: classes), count: names.count)
        let zeros = [Int](repeating: 0, count: names.count)
        var counts = Counts(samples: zeros, right: zeros, said: table, truths: table, found: table)
        for (i, row) in rows.enumerated() {
            let (g, weight) = (groups[i], weights?[i] ?? 1)
            guard weight > 0 else { continue }
            counts.samples[g] += weight
            counts.said[g][row.predicted] += weight
            counts.truths[g][row.gold] += weight
            if row.gold == row.predicted {
                counts.right[g] += weight
                counts.found[g][row.gold] += weight
            }
        }
        return counts
    }

    // MARK: The four gaps

    private static func share(_ part: Int, _ whole: Int) -> Double? { whole > 0 ? Double(part) / Double(whole) : nil }

    private func accuracy(_ counts: Counts, _ groups: [Int]) -> Double? {
        let shares = groups.compactMap { Self.share(counts.right[$0], counts.samples[$0]) }
        return shares.count == groups.count && !groups.isEmpty ? shares.reduce(0, +) / Double(shares.count) : nil
    }

    /// The largest difference between two of the groups; nil with fewer than two that have a value.
    private func widest(_ groups: [Int], _ value: (Int) -> Double?) -> Found? {
        let values = groups.compactMap { g in value(g).map { (g, $0) } }
        guard values.count > 1, let high = values.max(by: { ($0.1, $1.0) < ($1.1, $0.0) }),
            let low = values.min(by: { ($0.1, $0.0) < ($1.1, $1.0) })
        else { return nil }
        return Found(value: high.1 - low.1, high: [high.0], low: [low.0], classIndex: nil)
    }

    private func accuracyGap(_ counts: Counts) -> Found? { widest(compared) { Self.share(counts.right[$0], counts.samples[$0]) } }

    private var headAndTail: (head: [Int], tail: [Int])? {
        guard compared.count > 1 else { return nil }
        let half = (compared.count + 1) / 2
        return (Array(compared.prefix(half)), Array(compared.dropFirst(half)))
    }

    private func headTailGap(_ counts: Counts) -> Found? {
        guard let (head, tail) = headAndTail, let a = accuracy(counts, head), let b = accuracy(counts, tail) else { return nil }
        return Found(value: a - b, high: head, low: tail, classIndex: nil)
    }

    private func widestOverClasses(_ gap: (Int) -> Found?) -> Found? {
        var best: Found?
        for c in judgedClasses {
            guard var found = gap(c), found.value > best?.value ?? -1 else { continue }
            found.classIndex = c
            best = found
        }
        return best
    }

    private func parityGap(_ counts: Counts) -> Found? {
        widestOverClasses { c in widest(compared) { Self.share(counts.said[$0][c], counts.samples[$0]) } }
    }

    private func opportunityGap(_ counts: Counts) -> Found? {
        widestOverClasses { c in widest(opportunityGroups[c]) { Self.share(counts.found[$0][c], counts.truths[$0][c]) } }
    }

    // MARK: Intervals and chance

    func measured(classNames: [String]) -> (
        accuracy: GroupAudit.Gap?, headTail: GroupAudit.Gap?, parity: GroupAudit.Gap?, opportunity: GroupAudit.Gap?
    ) {
        let found = [accuracyGap(counted), headTailGap(counted), parityGap(counted), opportunityGap(counted)]
        guard found.contains(where: { $0 != nil }) else { return (nil, nil, nil, nil) }
        let bootstrap = GroupBootstrap(
            groups: rows.map(\.cluster), resamples: settings.resamples, level: settings.level, seed: settings.seed)
        let intervals = bootstrap.intervals { weights in
            let counts = count(groupOf, weights)
            return found.enumerated().map { kind, gap in gap.flatMap { difference(kind, $0, counts) } }
        }
        let chance = dealtAnew(found)
        func gap(_ kind: Int) -> GroupAudit.Gap? {
            guard let gap = found[kind] else { return nil }
            func list(_ groups: [Int]) -> String { groups.map { names[$0] }.joined(separator: ", ") }
            return GroupAudit.Gap(
                value: gap.value, interval: intervals[kind], chance: chance[kind].mean, p: chance[kind].p, high: list(gap.high),
                low: list(gap.low), className: gap.classIndex.map { classNames[$0] }, truth: kind == 2 ? trueDifference(gap) : nil)
        }
        return (gap(0), gap(1), gap(2), gap(3))
    }

    private func trueDifference(_ gap: Found) -> Double? {
        guard let c = gap.classIndex, let high = gap.high.first, let low = gap.low.first,
            let a = Self.share(counted.truths[high][c], counted.samples[high]),
            let b = Self.share(counted.truths[low][c], counted.samples[low])
        else { return nil }
        return a - b
    }

    /// The difference of a resample between the groups that the gap was found at.
    private func difference(_ kind: Int, _ gap: Found, _ counts: Counts) -> Double? {
        func value(_ groups: [Int]) -> Double? {
            guard let c = gap.classIndex, let g = groups.first else { return accuracy(counts, groups) }
            return kind == 2 ? Self.share(counts.said[g][c], counts.samples[g]) : Self.share(counts.found[g][c], counts.truths[g][c])
        }
        guard let high = value(gap.high), let low = value(gap.low) else { return nil }
        return high - low
    }

    /// Groups shuffled over clusters where every cluster lies in one group (sex of a patient), over samples otherwise (view of an image).
    private func dealtAnew(_ found: [Found?]) -> [(mean: Double, p: Double)] {
        var clusters: [String: Int] = [:]
        var unitGroups: [Int] = []
        var units: [Int] = []
        var isWhole = true
        for (row, group) in zip(rows, groupOf) {
            if let unit = clusters[row.cluster] {
                units.append(unit)
                if unitGroups[unit] != group { isWhole = false }
            } else {
                clusters[row.cluster] = unitGroups.count
                units.append(unitGroups.count)
                unitGroups.append(group)
            }
        }
        if !isWhole { (units, unitGroups) = (Array(rows.indices), groupOf) }
        var generator = SeededGenerator(seed: settings.seed, stream: "group-audit", "chance")
        var (sums, hits) = ([Double](repeating: 0, count: 4), [Int](repeating: 0, count: 4))
        var valid = [Int](repeating: 0, count: 4)
        for _ in 0..<settings.resamples {
            generator.shuffle(&unitGroups)
            let counts = count(units.map { unitGroups[$0] }, nil)
            for (kind, gap) in [accuracyGap(counts), headTailGap(counts), parityGap(counts), opportunityGap(counts)].enumerated() {
                guard let gap, let real = found[kind] else { continue }
                valid[kind] += 1
                sums[kind] += abs(gap.value)
                if abs(gap.value) >= abs(real.value) - 1e-12 { hits[kind] += 1 }
            }
        }
        // The data themselves are one deal of the cards (Phipson and Smyth 2010).
        return (0..<4).map { (valid[$0] > 0 ? sums[$0] / Double(valid[$0]) : 0, Double(hits[$0] + 1) / Double(valid[$0] + 1)) }
    }
}
