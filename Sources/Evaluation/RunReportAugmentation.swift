extension RunReport {
    /// Synthetic samples of a run: what was admitted, and the same run with and without them, paired by seed.
    package struct Augmentation: Hashable, Sendable, Codable {
        /// One method over all seeds.
        package struct Method: Hashable, Sendable, Codable {
            package var name: String
            package var offered: Int
            /// Samples that the classifiers learned from.
            package var kept: Int
            package var seeds: Int
            package var admittedSeeds: Int
            /// Why it was refused in the other seeds, each reason once.
            package var reasons: [String]
            /// Means over the seeds in which it could be judged.
            package var labelConsistency: Double?
            package var precision: Double?
            package var coverage: Double?
            package var memorisation: Double?

            package init(
                name: String, offered: Int, kept: Int, seeds: Int, admittedSeeds: Int, reasons: [String], labelConsistency: Double?,
                precision: Double?, coverage: Double?, memorisation: Double?
            ) {
                self.name = name
                self.offered = offered
                self.kept = kept
                self.seeds = seeds
                self.admittedSeeds = admittedSeeds
                self.reasons = reasons
                self.labelConsistency = labelConsistency
                self.precision = precision
                self.coverage = coverage
                self.memorisation = memorisation
            }
        }

        /// One measure with and without synthetic samples.
        package struct Effect: Hashable, Sendable, Codable {
            package var measure: String
            /// Whether more of it is better; a gap is better when it is small.
            package var higherIsBetter: Bool
            package var without: Spread
            package var with: Spread
            package var difference: Spread
            /// Two-sided, of the paired t-test; absent with one seed.
            package var p: Double?

            /// - Returns: nil without a seed in which both are known.
            package init?(measure: String, higherIsBetter: Bool, without: [Double], with treated: [Double]) {
                precondition(without.count == treated.count, "\(without.count) seeds against \(treated.count)")
                let differences = zip(without, treated).map { $1 - $0 }
                guard let a = Spread(without), let b = Spread(treated), let difference = Spread(differences) else { return nil }
                self.measure = measure
                self.higherIsBetter = higherIsBetter
                self.without = a
                self.with = b
                self.difference = difference
                p = PairedTTest(differences: differences)?.p
            }

            /// Worse on the mean of the seeds.
            package var isHarm: Bool { higherIsBetter ? difference.mean < 0 : difference.mean > 0 }
        }

        package var methods: [Method]
        package var effects: [Effect]
        package var weight: Double

        package init(methods: [Method], effects: [Effect], weight: Double) {
            self.methods = methods
            self.effects = effects
            self.weight = weight
        }

        /// A sentence for the reader when the labels did not become better; never left unsaid.
        package var warning: String? {
            guard let labels = effects.first, labels.isHarm else { return nil }
            let isSure = labels.p.map { $0 < 0.05 } ?? false
            let p = labels.p.map { ", p \(NumberText.pValue($0))" } ?? ""
            return
                "Synthetic samples \(isSure ? "made the labels worse" : "did not make the labels better"): \(NumberText.percent(labels.without.mean)) without, \(NumberText.percent(labels.with.mean)) with them\(p). Leave 'augmentation' out of this pipeline."
        }
    }
}

extension ReportComposer {
    func augmentation() -> [Block] {
        guard let augmentation = report.augmentation else { return [] }
        var blocks: [Block] = [
            .heading("Synthetic samples"),
            .paragraph(
                "Made from samples that people answered, judged, and learned from by the last classifier only, each counting \(NumberText.shortest(augmentation.weight)) of an answer. None was asked about, evaluated or exported."
            ),
            .table(methodTable(augmentation.methods)),
        ]
        for method in augmentation.methods where !method.reasons.isEmpty {
            blocks.append(
                .paragraph(
                    "\(method.name) was refused in \(count(method.seeds - method.admittedSeeds, "seed")): \(method.reasons.joined(separator: "; "))."
                ))
        }
        if !augmentation.effects.isEmpty { blocks.append(.table(effectTable(augmentation.effects))) }
        return blocks
    }

    private func methodTable(_ methods: [RunReport.Augmentation.Method]) -> Table {
        Table(
            "Synthetic samples by method, over all seeds; the last four are means over seeds.",
            [
                ("Method", .left), ("Made", .right), ("Admitted", .right), ("Admitted in", .right), ("Label consistency", .right),
                ("Precision", .right), ("Coverage", .right), ("Distance ratio", .right),
            ],
            methods.map {
                [
                    $0.name, NumberText.integer($0.offered), NumberText.integer($0.kept), "\($0.admittedSeeds) of \($0.seeds)",
                    NumberText.fixed($0.labelConsistency, decimals: 3), NumberText.fixed($0.precision, decimals: 3),
                    NumberText.fixed($0.coverage, decimals: 3), NumberText.fixed($0.memorisation, decimals: 2),
                ]
            }
        ).withoutEmptyColumns()
    }

    private func effectTable(_ effects: [RunReport.Augmentation.Effect]) -> Table {
        Table(
            "The same questions and answers with and without synthetic samples, paired by seed: percentage points, two-sided paired t-test, uncorrected. Head classes have at least the mean number of answers, tail classes fewer.",
            [
                ("Measure", .left), ("Without", .right), ("With", .right), ("Difference", .right), ("95 % interval", .right),
                ("p", .right), ("", .left),
            ],
            effects.map {
                [
                    $0.measure, NumberText.spread($0.without), NumberText.spread($0.with), NumberText.points($0.difference.mean),
                    $0.difference.low == nil
                        ? NumberText.missing : "\(NumberText.points($0.difference.low)) to \(NumberText.points($0.difference.high))",
                    NumberText.pValue($0.p), $0.difference.mean == 0 ? "same" : $0.isHarm ? "worse" : "better",
                ]
            }
        ).withoutEmptyColumns()
    }
}
