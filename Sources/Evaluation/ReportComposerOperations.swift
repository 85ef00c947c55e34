internal import Primitives

extension ReportComposer {
    func operations() -> [Block] {
        var blocks: [Block] = []
        if !report.stages.isEmpty {
            blocks.append(.heading("Time"))
            blocks.append(.figure(.stages(StageChart(stages: report.stages))))
            blocks.append(
                .table(
                    Table(
                        "Stages over all arms, seeds and rounds. Wall time counts while at least one task of the stage runs, so stages overlap; compute time sums over slots.",
                        [
                            ("Stage", .left), ("Tasks", .right), ("of them cached", .right), ("Rows", .right), ("Wall time", .right),
                            ("Compute time", .right), ("Rows/s", .right),
                        ],
                        report.stages.map {
                            [
                                $0.name, NumberText.integer($0.tasks), NumberText.integer($0.cachedTasks),
                                $0.rows > 0 ? NumberText.integer($0.rows) : NumberText.missing, NumberText.duration($0.wallSeconds),
                                NumberText.duration($0.computeSeconds), NumberText.fixed($0.rowsPerSecond, decimals: 0),
                            ]
                        })))
        }
        var cluster: [Block] = []
        if let counts = report.scheduling {
            let rows = [
                ("Workers", counts.workers), ("Leases granted", counts.leasesGranted), ("Leases revoked", counts.leasesRevoked),
                ("Blocks done", counts.blocksDone), ("Blocks redone", counts.blocksRedone),
                ("Duplicate results ignored", counts.duplicates),
                ("Results fenced off", counts.fenced), ("Conflicting results", counts.conflicts),
                ("Blocks quarantined", counts.quarantinedBlocks),
            ]
            cluster.append(
                .table(
                    Table(
                        "What the coordinator counted.", [("Event", .left), ("Count", .right)],
                        rows.map { [$0.0, NumberText.integer($0.1)] })))
            if counts.conflicts > 0 {
                cluster.append(
                    .notice(
                        .warning,
                        "\(count(counts.conflicts, "result")) differed from an earlier result of the same task: some stage is not reproducible."
                    ))
            }
        }
        if !report.processes.isEmpty {
            cluster.append(
                .table(
                    Table(
                        "Processes.", [("Process", .left), ("Peak memory", .right), ("CPU time", .right)],
                        report.processes.map { [$0.name, NumberText.mebibytes($0.peakMemoryBytes), NumberText.duration($0.cpuSeconds)] }
                    ).withoutEmptyColumns()))
        }
        if !cluster.isEmpty { blocks += [.heading("Cluster")] + cluster }
        return blocks + quarantine()
    }

    private func quarantine() -> [Block] {
        let rows = report.dataset.quarantined
        guard !rows.isEmpty else { return [] }
        let shown = 50
        var blocks: [Block] = [
            .heading("Quarantined rows"),
            .paragraph("\(count(rows.count, "row")) could not be read; everything else was labelled. They count in no number above."),
            .table(
                Table(
                    "Rows refused at ingest.", [("Place", .left), ("Code", .left), ("Reason", .left)],
                    rows.prefix(shown).map { [$0.place, $0.code, $0.reason] })),
        ]
        if rows.count > shown { blocks.append(.paragraph("\(NumberText.integer(rows.count - shown)) more are listed in run.json.")) }
        return blocks
    }

    func method() -> [Block] {
        var rows = [
            ["run", report.header.run.rawValue], ["pipeline", report.header.pipeline], ["data set digest", report.dataset.digest],
            ["modality", report.dataset.modality], ["seeds", report.seeds.map { "\($0)" }.joined(separator: ", ")],
            ["numerics class", report.environment.numericsClass.rawValue], ["started", report.header.startedAt],
            ["finished", report.header.finishedAt],
        ].filter { !$0[1].isEmpty }
        rows += report.environment.versions.map { [$0.name, $0.version] }
        return [
            .heading("Method and provenance"),
            .paragraph(
                "Label accuracy is the share of all samples whose final label equals gold; a sample without a label counts as wrong. The accuracy on samples that no person saw leaves out every sample with a human answer. Micro F1 equals accuracy where every sample has a label; macro F1 is the mean over classes with 0/0 taken as 0. Spreads are sample standard deviations over seeds; bands in the curves reach from the lowest to the highest seed."
            ),
            .table(Table("What took part.", [("Item", .left), ("Value", .left)], rows)),
        ]
    }
}
