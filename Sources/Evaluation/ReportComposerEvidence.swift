extension ReportComposer {
    func calibration() -> [Block] {
        guard let calibration = report.calibration else { return [] }
        func row(_ name: String, _ measure: RunReport.Calibration.Measure) -> [String] {
            [
                name, NumberText.percent(measure.equalWidthECE), NumberText.percent(measure.equalMassECE),
                NumberText.fixed(measure.brier, decimals: 4),
                NumberText.fixed(measure.negativeLogLikelihood, decimals: 4),
            ]
        }
        let table = Table(
            "Expected calibration error (ECE) with 15 bins, and proper scores. The temperature is fitted on reviewed samples only.",
            [
                ("Confidence", .left), ("ECE, equal width", .right), ("ECE, equal mass", .right), ("Brier score", .right),
                ("Negative log-likelihood", .right),
            ],
            [
                row("before calibration", calibration.before),
                row("after (temperature \(NumberText.fixed(calibration.temperature, decimals: 3)))", calibration.after),
            ]
        ).withoutEmptyColumns()
        let chart = ReliabilityChart(before: calibration.before.bins, after: calibration.after.bins, measuredOn: calibration.measuredOn)
        return [.heading("Calibration"), .figure(.reliability(chart)), .table(table)]
    }

    func sources() -> [Block] {
        var blocks: [Block] = []
        if let functions = report.labelingFunctions {
            blocks.append(.heading("Labeling functions"))
            blocks.append(
                .paragraph(
                    "\(count(functions.rows.count, "function")) cover \(NumberText.percent(functions.coverage, decimals: 1)) of the samples; on \(NumberText.percent(functions.overlap, decimals: 1)) at least two vote, on \(NumberText.percent(functions.conflict, decimals: 1)) they disagree. \(count(functions.faults, "fault")). An abstention is an answer, a fault is not."
                ))
            // By votes, then name: what matters most comes first and the order is always the same.
            let sorted = functions.rows.sorted { ($1.votes, $0.name) < ($0.votes, $1.name) }
            let first = 15
            blocks.append(.table(functionTable(Array(sorted.prefix(first)), caption: "Labeling functions with the most votes.")))
            if sorted.count > first {
                blocks.append(
                    .collapsed(
                        summary: "The other \(NumberText.integer(sorted.count - first)) functions",
                        [.table(functionTable(Array(sorted.dropFirst(first)), caption: "Labeling functions, continued."))]))
            }
        }
        let evidence = [("Label model", report.labelModel), ("Combination of opinions", report.aggregation)]
        for case (let title, let model?) in evidence {
            blocks.append(.heading(title))
            var text = "Chosen: \(model.chosen), by \(model.criterion)."
            if let coverage = model.coverage {
                text += " It has an opinion on \(NumberText.percent(coverage, decimals: 1)) of the samples."
            }
            blocks.append(.paragraph(text))
            guard !model.candidates.isEmpty else { continue }
            blocks.append(
                .table(
                    Table(
                        "\(title): every candidate on samples held out from its fit.",
                        [
                            ("Candidate", .left), ("Accuracy", .right), ("Negative log-likelihood", .right), ("Held-out samples", .right),
                            ("Note", .left),
                        ],
                        model.candidates.map {
                            [
                                $0.name == model.chosen ? "\($0.name) (chosen)" : $0.name, NumberText.percent($0.accuracy),
                                NumberText.fixed($0.negativeLogLikelihood, decimals: 4), NumberText.integer($0.heldOut),
                                $0.note.isEmpty ? NumberText.missing : $0.note,
                            ]
                        }
                    ).withoutEmptyColumns()))
        }
        return blocks
    }

    private func functionTable(_ rows: [RunReport.LabelingFunction], caption: String) -> Table {
        Table(
            caption,
            [
                ("Function", .left), ("Kind", .left), ("Votes", .right), ("Coverage", .right), ("Overlap", .right), ("Conflict", .right),
                ("Accuracy", .right), ("of", .right), ("Weight", .right), ("Faults", .right),
            ],
            rows.map {
                [
                    $0.name, $0.kind, NumberText.integer($0.votes), NumberText.percent($0.coverage), NumberText.percent($0.overlap),
                    NumberText.percent($0.conflict),
                    $0.accuracySupport > 0 ? NumberText.percent($0.accuracy, decimals: 1) : NumberText.missing,
                    $0.accuracySupport > 0 ? NumberText.integer($0.accuracySupport) : NumberText.missing,
                    NumberText.fixed($0.weight, decimals: 2),
                    NumberText.integer($0.faults),
                ]
            }
        ).withoutEmptyColumns()
    }

    func finalLabels() -> [Block] {
        guard let labels = report.finalLabels, !labels.rows.isEmpty else { return [] }
        let total = labels.rows.reduce(0) { $0 + $1.samples }
        var blocks: [Block] = [
            .heading("Who gave the labels"),
            .table(
                Table(
                    "Final labels by the sources that took part.",
                    [("Sources", .left), ("Samples", .right), ("Share", .right), ("Mean confidence", .right), ("Accuracy", .right)],
                    labels.rows.map {
                        [
                            $0.sources, NumberText.integer($0.samples), NumberText.percent(share($0.samples, total)),
                            NumberText.fixed($0.meanConfidence, decimals: 3), NumberText.percent($0.accuracy),
                        ]
                    }
                ).withoutEmptyColumns()),
        ]
        if labels.contradictedAnswers > 0 {
            let who = report.ledger?.isSimulated == true ? "simulated human answer" : "human answer"
            blocks.append(
                .paragraph(
                    "\(count(labels.contradictedAnswers, who)) disagree with a confident machine opinion and deserve a second look."
                ))
        }
        return blocks
    }

    func errors() -> [Block] {
        guard let confusion = report.confusion, !confusion.classes.isEmpty else { return [] }
        var blocks: [Block] = [.heading("Where the labels err")]
        blocks.append(
            .table(
                Table(
                    "Classes with the lowest F1.",
                    [("Class", .left), ("Samples", .right), ("Precision", .right), ("Recall", .right), ("F1", .right)],
                    confusion.classes.map {
                        [
                            $0.name, NumberText.integer($0.support), NumberText.percent($0.precision, decimals: 1),
                            NumberText.percent($0.recall, decimals: 1), NumberText.percent($0.f1, decimals: 1),
                        ]
                    })))
        if !confusion.pairs.isEmpty {
            blocks.append(
                .table(
                    Table(
                        "Most frequent confusions.", [("Gold", .left), ("Labelled as", .left), ("Samples", .right)],
                        confusion.pairs.map { [$0.gold, $0.predicted, NumberText.integer($0.count)] })))
        }
        return blocks
    }

    func effort() -> [Block] {
        var blocks: [Block] = []
        if let ledger = report.ledger {
            blocks.append(.heading(ledger.isSimulated ? "Human effort (simulated)" : "Human effort"))
            var rows = ledger.entries.map {
                [$0.purpose, NumberText.integer($0.answers), hours($0.seconds), $0.countsTowardsBudget ? "yes" : "no, measures only"]
            }
            rows.append(["all that count", NumberText.integer(ledger.budgetAnswers), hours(ledger.humanSeconds), "yes"])
            rows.append([
                "labelling every sample instead", NumberText.integer(ledger.samples), hours(ledger.everythingSeconds), NumberText.missing,
            ])
            blocks.append(
                .table(
                    Table(
                        "Ledger of human answers of one run: every labelled example ever used, at \(NumberText.shortest(ledger.secondsPerItem)) s per item.",
                        [("Purpose", .left), ("Answers", .right), ("Time", .right), ("In the budget", .left)], rows)))
        }
        if let cost = report.cost {
            var rows = cost.lines.map {
                [
                    $0.what, "\(NumberText.fixed($0.quantity, decimals: 3)) \($0.unit)", NumberText.fixed($0.price, decimals: 4),
                    NumberText.fixed($0.amount, decimals: 2),
                ]
            }
            rows.append(["total", NumberText.missing, NumberText.missing, NumberText.fixed(cost.total, decimals: 2)])
            blocks.append(
                .table(
                    Table(
                        "Cost in \(cost.currency) at the prices given by the user.",
                        [("Item", .left), ("Quantity", .right), ("Price per unit", .right), ("Amount", .right)], rows)))
        }
        return blocks
    }
}
