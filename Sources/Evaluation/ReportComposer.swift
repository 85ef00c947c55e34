internal import Primitives

/// Turns a run report into words, tables and figures: what is said and in which order, for both formats.
struct ReportComposer {
    var report: RunReport

    typealias Block = ReportDocument.Block
    typealias Table = ReportDocument.Table

    func compose() -> ReportDocument {
        let header = report.header
        var subtitle = "Data set \(report.dataset.name), \(NumberText.integer(report.dataset.samples)) samples, "
        subtitle += "\(NumberText.integer(report.dataset.classes)) classes · run \(header.run)"
        if !header.startedAt.isEmpty { subtitle += " · \(header.startedAt)" }
        var document = ReportDocument(title: header.title, subtitle: subtitle)
        document.blocks = summary() + quality() + labelSets() + finalLabels() + sources() + errors() + effort() + operations() + method()
        return document
    }

    // MARK: Summary

    /// The arm that the report is about: the first with a control, else the first.
    var mainArm: RunReport.Arm? { report.arms.first { $0.control != nil } ?? report.arms.first }

    func armTitle(_ id: String) -> String { report.arms.first { $0.id == id }?.title ?? id }

    private func summary() -> [Block] {
        var blocks: [Block] = []
        let reviewers = distinct(report.arms.map(\.reviewer).filter(\.isSimulated).map(\.description))
        if !reviewers.isEmpty || report.ledger?.isSimulated == true {
            let list = reviewers.isEmpty ? "" : " (" + reviewers.joined(separator: "; ") + ")"
            // With people in some other arm, only the simulated arms' answers are a simulation.
            let allSimulated = report.arms.allSatisfy(\.reviewer.isSimulated)
            let text =
                allSimulated
                ? "No person answered in this run. Every review answer comes from a simulation\(list), and all human hours and costs below are simulated too."
                : "Some arms of this run were answered by a simulation\(list); the table of arms says which. Their human hours and costs are simulated too."
            blocks.append(.notice(.simulation, text))
        }
        for warning in report.warnings { blocks.append(.notice(.warning, warning)) }
        if report.environment.mixedNumerics {
            blocks.append(
                .notice(
                    .warning,
                    "Stages ran on workers of several numerics classes (numerics: any); a repeated run may differ in its last bits."))
        }
        blocks.append(.tiles(tiles()))
        if !report.gates.isEmpty { blocks += [.heading("What the run must show"), .table(gateTable())] }
        return blocks
    }

    private func tiles() -> [ReportDocument.Tile] {
        var tiles: [ReportDocument.Tile] = []
        if let arm = mainArm, let point = report.checkpoints.last(where: { $0.arm == arm.id }), let accuracy = point.accuracy {
            let budget = "\(arm.title), \(budgetText(point.fraction)) human answers"
            tiles.append(
                .init(label: "Label accuracy", value: NumberText.percent(accuracy.mean), note: spreadNote(accuracy) + " · " + budget))
            if let unseen = point.unseenAccuracy {
                tiles.append(.init(label: "On samples no person saw", value: NumberText.percent(unseen.mean), note: spreadNote(unseen)))
            }
            if let row = report.comparisons.last(where: { $0.arm == arm.id }) {
                let test =
                    row.p == nil ? "one seed, no test" : "points, paired t-test over \(row.difference.count) seeds, p \(pText(row.p))"
                tiles.append(
                    .init(label: "Above \(armTitle(row.control))", value: NumberText.points(row.difference.mean), note: test))
            }
        }
        if !report.dataset.hasGold, let audit = report.audit {
            tiles.append(
                .init(
                    label: "Estimated agreement with reviewers", value: NumberText.percent(share(audit.agreed, audit.sampled), decimals: 1),
                    note: auditInterval(audit)))
        }
        if let ledger = report.ledger {
            tiles.append(
                .init(
                    label: ledger.isSimulated ? "Human answers (simulated)" : "Human answers",
                    value: NumberText.integer(ledger.budgetAnswers),
                    note:
                        "\(NumberText.percent(share(ledger.budgetAnswers, ledger.samples), decimals: 1)) of the samples, \(hours(ledger.humanSeconds)) instead of \(hours(ledger.everythingSeconds))"
                ))
        }
        if let reference = RunReport.Spread(report.supervised.map(\.testAccuracy)) {
            tiles.append(
                .init(
                    label: "Trained on all gold", value: NumberText.percent(reference.mean),
                    note: "classifier on the test split, \(spreadNote(reference))"))
        }
        tiles.append(
            .init(
                label: "Wall time", value: NumberText.duration(report.header.wallSeconds),
                note: "all arms, \(count(report.seeds.count, "seed"))"))
        return tiles
    }

    private func gateTable() -> Table {
        Table(
            "Thresholds that this run is held to.",
            [("Claim", .left), ("Required", .right), ("Measured", .right), ("Result", .left)],
            report.gates.map { gate in
                [
                    gate.title, (gate.direction == .atLeast ? "≥ " : "≤ ") + amount(gate.threshold, gate.unit),
                    amount(gate.measured, gate.unit),
                    gate.passes ? "✓ holds" : (gate.measured == nil ? "✗ not measured" : "✗ missed"),
                ]
            })
    }

    private func amount(_ value: Double?, _ unit: RunReport.Gate.Unit) -> String {
        guard let value else { return NumberText.missing }
        return switch unit {
        case .fraction: NumberText.percent(value)
        case .points: NumberText.fixed(value * 100, decimals: 2) + " points"
        case .seconds: NumberText.duration(value)
        case .mebibytes: NumberText.fixed(value, decimals: 0) + " MiB"
        case .count: NumberText.shortest(value)
        }
    }

    // MARK: Quality

    private func quality() -> [Block] {
        var blocks: [Block] = [.heading("Label quality")]
        if !report.dataset.hasGold {
            var text = "This data set has no gold labels, so no accuracy can be given."
            if let audit = report.audit {
                text +=
                    " On a uniform audit sample of \(NumberText.integer(audit.sampled)) final labels, reviewers agreed with \(NumberText.integer(audit.agreed)): "
                text +=
                    "an estimated agreement with reviewers of \(NumberText.percent(share(audit.agreed, audit.sampled), decimals: 1)), \(auditInterval(audit))."
            } else {
                text += " No audit sample was reviewed, so their agreement with reviewers is unknown as well."
            }
            blocks.append(.paragraph(text))
            if !report.arms.isEmpty { blocks.append(.table(armTable())) }
            return blocks + calibration()
        }
        let curves: [(String, (RunReport.BudgetPoint) -> Double?)] = [
            ("Label accuracy over all samples against human answers used", \.accuracy),
            ("Label accuracy on the samples that no person saw", \.unseenAccuracy),
        ]
        for (title, value) in curves {
            let chart = BudgetChart(title: title, report: report, value: value)
            if chart.isDrawable { blocks.append(.figure(.curve(chart))) }
        }
        if !report.arms.isEmpty { blocks.append(.table(armTable())) }
        if !report.checkpoints.isEmpty { blocks.append(.table(checkpointTable())) }
        if !report.comparisons.isEmpty {
            blocks.append(.table(comparisonTable()))
            if report.comparisons.contains(where: \.zeroVariance) {
                blocks.append(.paragraph("Where all differences were equal the t statistic is undefined and p is 0 or 1 by convention."))
            }
        }
        if report.seeds.count > 1 && !report.checkpoints.isEmpty {
            blocks.append(.collapsed(summary: "Every seed", [.table(seedTable())]))
        }
        if !report.supervised.isEmpty { blocks.append(.table(supervisedTable())) }
        if let rows = report.binaryTests, !rows.isEmpty { blocks.append(.table(binaryTestTable(rows))) }
        blocks += augmentation()
        if let audit = report.audit {
            blocks.append(
                .paragraph(
                    "A uniform audit sample of \(NumberText.integer(audit.sampled)) gives an estimated agreement with reviewers of \(NumberText.percent(share(audit.agreed, audit.sampled), decimals: 1)), \(auditInterval(audit))."
                ))
        }
        return blocks + calibration()
    }

    private func armTable() -> Table {
        Table(
            "Arms: how the review budget was spent, and who answered.",
            [("Arm", .left), ("Acquisition", .left), ("Reviewer", .left), ("Seeds", .right), ("Compared with", .left)],
            report.arms.map { arm in
                [
                    arm.title, arm.acquisition, arm.reviewer.description, NumberText.integer(arm.runs.count),
                    arm.control.map(armTitle) ?? "– (control)",
                ]
            })
    }

    private func checkpointTable() -> Table {
        Table(
            "Accuracy of the final labels at fixed budgets: mean ± standard deviation over seeds. Every labelled example ever used counts as an answer.",
            [
                ("Budget", .right), ("Arm", .left), ("Answers", .right), ("All samples", .right), ("Samples no person saw", .right),
                ("Macro F1", .right), ("Test split", .right),
            ],
            report.checkpoints.map { point in
                [
                    budgetText(point.fraction), armTitle(point.arm), NumberText.integer(point.answersUsed),
                    NumberText.spread(point.accuracy),
                    NumberText.spread(point.unseenAccuracy), NumberText.spread(point.macroF1), NumberText.spread(point.testAccuracy),
                ]
            }
        ).withoutEmptyColumns()
    }

    private func comparisonTable() -> Table {
        Table(
            "Difference to the control at the same budget in percentage points, paired by seed: two-sided paired t-test, Holm's correction over all rows.",
            [
                ("Budget", .right), ("Arm", .left), ("Control", .left), ("Difference", .right), ("95 % interval", .right),
                ("t (df)", .right),
                ("p", .right), ("p, Holm", .right), ("d_z", .right),
            ],
            report.comparisons.map { row in
                let difference = row.difference
                return [
                    budgetText(row.fraction), armTitle(row.arm), armTitle(row.control),
                    NumberText.points(difference.mean)
                        + (difference.standardDeviation.map { " ± " + NumberText.fixed($0 * 100, decimals: 2) } ?? ""),
                    difference.low == nil
                        ? NumberText.missing : "\(NumberText.points(difference.low)) to \(NumberText.points(difference.high))",
                    row.degreesOfFreedom == nil
                        ? NumberText.missing : "\(NumberText.fixed(row.t, decimals: 2)) (\(row.degreesOfFreedom ?? 0))",
                    NumberText.pValue(row.p), NumberText.pValue(row.holmP), NumberText.fixed(row.effectSize, decimals: 2),
                ]
            }
        ).withoutEmptyColumns()
    }

    private func seedTable() -> Table {
        var rows: [[String]] = []
        for arm in report.arms {
            for run in arm.runs {
                for fraction in report.checkpointFractions {
                    guard let point = RunReport.point(run, within: fraction, of: report.dataset.samples) else { continue }
                    rows.append([
                        arm.title, "\(run.seed)", budgetText(fraction), NumberText.integer(point.answersUsed),
                        NumberText.percent(point.accuracy),
                        NumberText.percent(point.unseenAccuracy), NumberText.integer(point.unseenCount),
                    ])
                }
            }
        }
        return Table(
            "Each seed's final labels at the budgets above.",
            [
                ("Arm", .left), ("Seed", .right), ("Budget", .right), ("Answers", .right), ("All samples", .right),
                ("Samples no person saw", .right), ("Unseen samples", .right),
            ], rows)
    }

    private func binaryTestTable(_ rows: [RunReport.BinaryTestRow]) -> Table {
        Table(
            "The classifiers on the test split. A cut is chosen on the validation split for balanced accuracy; no test label reaches any decision of the run.",
            [
                ("Trained on", .left), ("Answers", .right), ("Cut chosen on", .left), ("Cut", .right), ("Samples", .right),
                ("Accuracy", .right), ("95 % interval", .right), ("F1", .right), ("of class", .left),
            ],
            rows.map {
                [
                    $0.training, $0.answers > 0 ? NumberText.integer($0.answers) : NumberText.missing, $0.cutFrom,
                    NumberText.fixed($0.cut, decimals: 3), NumberText.integer($0.samples), NumberText.percent($0.accuracy),
                    "\(NumberText.fixed($0.low * 100, decimals: 1)) to \(NumberText.percent($0.high, decimals: 1))",
                    $0.f1.map { NumberText.fixed($0, decimals: 3) } ?? NumberText.missing, $0.positiveClass,
                ]
            }
        ).withoutEmptyColumns()
    }

    private func supervisedTable() -> Table {
        var rows = report.supervised.map {
            [
                "\($0.seed)", $0.classifier, NumberText.integer($0.trainingSamples), NumberText.integer($0.testSamples),
                NumberText.percent($0.testAccuracy), NumberText.percent($0.testMacroF1),
            ]
        }
        if rows.count > 1 {
            rows.append([
                "all", "mean ± standard deviation", NumberText.missing, NumberText.missing,
                NumberText.spread(RunReport.Spread(report.supervised.map(\.testAccuracy))),
                NumberText.spread(RunReport.Spread(report.supervised.compactMap(\.testMacroF1))),
            ])
        }
        return Table(
            "Supervised reference: the same kind of classifier trained on every gold label, on the held-out test split. No test label reaches any decision of the run.",
            [
                ("Seed", .right), ("Classifier", .left), ("Training samples", .right), ("Test samples", .right), ("Accuracy", .right),
                ("Macro F1", .right),
            ], rows
        ).withoutEmptyColumns()
    }

    // MARK: Phrases

    func distinct(_ texts: [String]) -> [String] {
        var kept: [String] = []
        for text in texts where !kept.contains(text) { kept.append(text) }
        return kept
    }
    func share(_ a: Int, _ b: Int) -> Double? { b > 0 ? Double(a) / Double(b) : nil }
    func budgetText(_ fraction: Double) -> String { NumberText.shortest((fraction * 1e6).rounded() / 1e4) + " %" }
    func hours(_ seconds: Double) -> String { NumberText.fixed(seconds / 3600, decimals: 1) + " h" }
    func count(_ n: Int, _ noun: String) -> String { "\(NumberText.integer(n)) \(noun)\(n == 1 ? "" : "s")" }
    func pText(_ p: Double?) -> String {
        let text = NumberText.pValue(p)
        return text.hasPrefix("<") ? text : "= " + text
    }
    func spreadNote(_ spread: RunReport.Spread) -> String {
        guard let deviation = spread.standardDeviation else { return "one seed" }
        return "± \(NumberText.fixed(deviation * 100, decimals: 2)) over \(spread.count) seeds"
    }
    func auditInterval(_ audit: RunReport.AuditEstimate) -> String {
        "\(NumberText.percent(audit.level, decimals: 0)) interval \(NumberText.fixed(audit.low * 100, decimals: 1)) to \(NumberText.percent(audit.high, decimals: 1))"
    }
}
