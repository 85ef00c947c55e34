/// How well several yes-or-no labels of the same samples were annotated: one arm, one seed. Only cells that say a plain yes or no are
/// truth; uncertain and blank ones are counted and judged nowhere.
package struct LabelSetScore: Hashable, Sendable, Codable {
    /// One label.
    package struct Label: Hashable, Sendable, Codable {
        package var name: String
        /// Samples whose truth is known, and those of them that have the label.
        package var known = 0
        package var present = 0
        /// Cells that taught by the policy and are no truth.
        package var taken = 0
        /// Final labels, over all samples that could be read.
        package var labelled = 0
        /// Cells that a person answered.
        package var answered = 0
        /// Of `known`; without a final label a cell is wrong.
        package var right = 0
        package var unseenKnown = 0
        package var unseenRight = 0
        /// Of the last classifier over cells that no person saw.
        package var unseenArea: Double?
        package var test: Test?

        package init(name: String) { self.name = name }

        package var prevalence: Double? { known > 0 ? Double(present) / Double(known) : nil }
        package var accuracy: Double? { known > 0 ? Double(right) / Double(known) : nil }
        package var unseenAccuracy: Double? { unseenKnown > 0 ? Double(unseenRight) / Double(unseenKnown) : nil }
        /// Of who always gives the commoner answer: an accuracy below it has learned nothing.
        package var constantAccuracy: Double? { prevalence.map { max($0, 1 - $0) } }
    }
    /// One label's classifier on the test split.
    package struct Test: Hashable, Sendable, Codable {
        package var known: Int
        package var present: Int
        package var right: Int
        package var area: Double?
        /// Bootstrap over groups (patients); nil where there are too few.
        package var areaInterval: Interval?
        package var accuracyInterval: Interval?
        /// Of the label, at p = 0.5.
        package var f1: Double?

        package init(
            known: Int, present: Int, right: Int, area: Double?, areaInterval: Interval?, accuracyInterval: Interval?, f1: Double?
        ) {
            self.known = known
            self.present = present
            self.right = right
            self.area = area
            self.areaInterval = areaInterval
            self.accuracyInterval = accuracyInterval
            self.f1 = f1
        }
        package var accuracy: Double? { known > 0 ? Double(right) / Double(known) : nil }
    }
    package var labels: [Label]
    /// Samples that could be read.
    package var samples = 0
    /// Samples with a known cell, and those of them of which every known cell is right.
    package var judged = 0
    package var allRight = 0

    package init(names: [String]) { labels = names.map { Label(name: $0) } }

    package var known: Int { labels.reduce(0) { $0 + $1.known } }
    package var accuracy: Double? { known > 0 ? Double(labels.reduce(0) { $0 + $1.right }) / Double(known) : nil }
    package var unseenKnown: Int { labels.reduce(0) { $0 + $1.unseenKnown } }
    package var unseenAccuracy: Double? {
        unseenKnown > 0 ? Double(labels.reduce(0) { $0 + $1.unseenRight }) / Double(unseenKnown) : nil
    }
    /// Mean over labels that have one.
    package var meanTestArea: Double? { Self.mean(labels.compactMap { $0.test?.area }) }
    package var meanUnseenArea: Double? { Self.mean(labels.compactMap(\.unseenArea)) }

    private static func mean(_ values: [Double]) -> Double? {
        values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
}

extension RunReport {
    /// Every arm and seed of a run whose samples have several labels each; the supervised reference has no seed.
    package struct LabelSetArm: Hashable, Sendable, Codable {
        /// `margin`, `random`, `all gold`.
        package var title: String
        package var seed: UInt64?
        package var answers: Int
        package var score: LabelSetScore

        package init(title: String, seed: UInt64?, answers: Int, score: LabelSetScore) {
            self.title = title
            self.seed = seed
            self.answers = answers
            self.score = score
        }
    }
}
