/// The part of a report on samples with several labels each.
extension ReportComposer {
    func labelSets() -> [Block] {
        guard let arms = report.labelSets, let main = arms.first else { return [] }
        let uncertain = main.score.labels.reduce(0) { $0 + $1.taken }
        var note =
            "Accuracy above is over cells (one label of one sample) whose truth is known. \(NumberText.integer(main.score.known)) of \(NumberText.integer(main.score.samples * main.score.labels.count)) cells of the pool are known"
        if uncertain > 0 {
            note += "; \(NumberText.integer(uncertain)) uncertain or blank ones teach by the data set's policy and are judged nowhere"
        }
        note += ". “Constant” is the accuracy of always giving the commoner answer."
        var blocks: [Block] = [.heading("Each label"), .paragraph(note), .table(poolTable(arms, main))]
        if arms.contains(where: { $0.score.labels.contains { $0.test != nil } }) { blocks.append(.table(testTable(arms))) }
        blocks.append(.table(meanTable(arms)))
        return blocks
    }

    /// The arms with the same title, one for each seed.
    private func runs(_ title: String, _ arms: [RunReport.LabelSetArm]) -> [LabelSetScore] {
        arms.filter { $0.title == title }.map(\.score)
    }

    private func spread(_ values: [Double?], scale: Double = 1, decimals: Int = 3) -> String {
        let found = values.compactMap { $0 }
        guard !found.isEmpty, let spread = RunReport.Spread(found) else { return NumberText.missing }
        let deviation = spread.standardDeviation.map { " ± " + NumberText.fixed($0 * scale, decimals: decimals) } ?? ""
        return NumberText.fixed(spread.mean * scale, decimals: decimals) + deviation
    }

    private func poolTable(_ arms: [RunReport.LabelSetArm], _ main: RunReport.LabelSetArm) -> Table {
        let same = runs(main.title, arms)
        return Table(
            "Labels of the pool, \(main.title): percent, mean ± standard deviation over seeds where there are several. Coverage is the share of readable samples with a final value. Areas (AUROC) are of the last classifier on cells that no person saw.",
            [
                ("Label", .left), ("Known", .right), ("Prevalence", .right), ("Coverage", .right), ("Answered", .right),
                ("Constant", .right), ("Accuracy", .right), ("Accuracy, unseen", .right), ("AUROC, unseen", .right),
            ],
            main.score.labels.enumerated().map { index, label in
                let all = same.map { $0.labels[index] }
                return [
                    label.name, NumberText.integer(label.known), NumberText.percent(label.prevalence, decimals: 1),
                    NumberText.percent(share(label.labelled, main.score.samples), decimals: 1),
                    NumberText.integer(label.answered), NumberText.percent(label.constantAccuracy, decimals: 1),
                    spread(all.map(\.accuracy), scale: 100, decimals: 1), spread(all.map(\.unseenAccuracy), scale: 100, decimals: 1),
                    spread(all.map(\.unseenArea)),
                ]
            })
    }

    private func testTable(_ arms: [RunReport.LabelSetArm]) -> Table {
        var rows: [[String]] = []
        for title in distinct(arms.map(\.title)) {
            let same = runs(title, arms)
            guard let first = same.first else { continue }
            for (index, label) in first.labels.enumerated() {
                guard let test = label.test else { continue }
                let all = same.map { $0.labels[index].test }
                rows.append([
                    title, label.name, NumberText.integer(test.known), NumberText.integer(test.present),
                    spread(all.map { $0?.area }), interval(test.areaInterval, decimals: 3),
                    spread(all.map { $0?.accuracy }, scale: 100, decimals: 1),
                    interval(test.accuracyInterval.map { Interval(low: $0.low * 100, high: $0.high * 100) }, decimals: 1),
                    spread(all.map { $0?.f1 }),
                ])
            }
        }
        return Table(
            "The classifiers on the test split, mean ± standard deviation over seeds; 95 % intervals of the first seed, by a bootstrap that draws groups (patients) whole. No test label reaches any decision of the run.",
            [
                ("Trained on answers of", .left), ("Label", .left), ("Known", .right), ("Present", .right), ("AUROC", .right),
                ("95 % interval", .right), ("Accuracy %", .right), ("95 % interval", .right), ("F1", .right),
            ], rows)
    }

    private func interval(_ interval: Interval?, decimals: Int) -> String {
        interval.map { "\(NumberText.fixed($0.low, decimals: decimals)) to \(NumberText.fixed($0.high, decimals: decimals))" }
            ?? NumberText.missing
    }

    private func meanTable(_ arms: [RunReport.LabelSetArm]) -> Table {
        Table(
            "All labels together: mean AUROC over labels that have one, and the share of samples of which every known label is right.",
            [("Arm", .left), ("Seeds", .right), ("AUROC, unseen", .right), ("AUROC, test", .right), ("All labels right", .right)],
            distinct(arms.map(\.title)).map { title in
                let same = runs(title, arms)
                return [
                    title, NumberText.integer(same.count), spread(same.map(\.meanUnseenArea)), spread(same.map(\.meanTestArea)),
                    spread(same.map { share($0.allRight, $0.judged) }, scale: 100, decimals: 1),
                ]
            }
        ).withoutEmptyColumns()
    }
}
