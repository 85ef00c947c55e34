import Aggregation
import CoordinatorService
import Datasets
import Evaluation
import Foundation
import Manifests
import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WeakSupervision
import WireProtocol

/// Fetches what a run made and writes it for people and programs.
struct RunResults {
    let connection: CoordinatorConnection
    let plan: RunPlan
    let annotation: RunAnnotation

    /// The committed results of stages, by stage.
    func results(_ stages: [StageID]) throws -> [StageID: StageResults] {
        var found: [StageID: StageResults] = [:]
        for start in stride(from: 0, to: stages.count, by: 32) {
            guard case .results(let page) = try connection.ask(.result(plan.id, Array(stages[start..<min(start + 32, stages.count)])))
            else {
                throw AMAFError.unexpectedReply("sent no results")
            }
            for result in page { found[result.stage] = result }
        }
        return found
    }

    func output(_ name: String, of stage: StageID, in results: [StageID: StageResults]) throws -> [UInt8]? {
        guard let output = results[stage]?.results.first?.outputs.first(where: { $0.name == name }) else { return nil }
        return try connection.fetch(output.digest)
    }

    func document<T: Decodable>(_ type: T.Type, _ name: String, of stage: StageID, in results: [StageID: StageResults]) throws -> T? {
        guard let bytes = try output(name, of: stage, in: results) else { return nil }
        return try CanonicalJSON.decode(type, from: bytes, what: name)
    }

    // MARK: Files

    func write(to folder: String, report: RunReport) throws {
        let results = try results([Planner.export])
        for output in results[Planner.export]?.results.first?.outputs ?? [] {
            try put(try connection.fetch(output.digest), "\(folder)/\(output.name)")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        try put(Array(try encoder.encode(report)) + [10], "\(folder)/run.json")
        try put(Array(report.markdown().utf8), "\(folder)/report.md")
        try put(Array(report.html().utf8), "\(folder)/report.html")
    }

    private func put(_ bytes: [UInt8], _ path: String) throws {
        do {
            try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw AMAFError(
                "cli.cannot-write", "Cannot write \(bytes.count) bytes: \(error.localizedDescription)", place: path,
                remedy: "Check the folder's permissions and the space on the disk.")
        }
    }

    /// The questions of the stage that waits for people.
    func writeQuestions(_ run: SchedulerSnapshot.Run, to folder: String) throws -> (path: String, count: Int) {
        guard let waiting = run.stages.first(where: { $0.byPeople && $0.ready > 0 }),
            let spec = plan.stages.first(where: { $0.id == waiting.id }), case .stage(let select, _)? = spec.inputs.first?.source
        else {
            throw AMAFError(
                "cli.no-questions", "Run \(run.id) waits for people, but no stage asks them",
                remedy: "See 'amaf status RUN'; the plan may be of another version.")
        }
        let results = try results([select])
        guard let bytes = try output("questions", of: select, in: results) else {
            throw AMAFError(
                "cli.no-questions", "Stage \(select) wrote no questions", remedy: "See 'amaf status RUN' for what happened to it.")
        }
        let name = waiting.id.rawValue.split(separator: "/").dropFirst(2).first.map(String.init) ?? "review"
        let path = "\(folder)/questions-\(name).csv"
        // Answers that somebody has begun to fill in are never overwritten.
        if !FileManager.default.fileExists(atPath: path) { try put(bytes, path) }
        return (path, Int(results[select]?.results.first?.metrics["rows"] ?? 0))
    }

    // MARK: Report

    func report(
        status: SchedulerSnapshot, run: SchedulerSnapshot.Run, started: Date,
        processes: [(name: String, peakMemoryBytes: UInt64, cpuSeconds: Double)],
        functions: LabelingFunctionFile?
    ) throws -> RunReport {
        let everything = try results(plan.stages.map(\.id))
        let finished = Date()
        var evaluations: [(RunArm, ArmEvaluation)] = []
        for arm in annotation.arms {
            if let evaluation = try document(ArmEvaluation.self, "evaluation", of: Planner.evaluation(of: arm), in: everything) {
                evaluations.append((arm, evaluation))
            }
        }
        let refused = try quarantinedRows(everything)
        let quarantined =
            refused.isEmpty
            ? annotation.quarantined.map { RunReport.QuarantinedRow(place: $0.place, code: $0.code, reason: $0.reason) }
            : refused.prefix(Self.quarantineExamples).map { RunReport.QuarantinedRow(place: $0.place, code: $0.code, reason: $0.reason) }
        let milliseconds = { (date: Date) in Int64(date.timeIntervalSince1970 * 1000) }
        var report = RunReport(
            header: .init(
                run: plan.id, title: annotation.pipelineName, pipeline: annotation.pipeline,
                startedAt: WallClock.timestamp(milliseconds(started)),
                finishedAt: WallClock.timestamp(milliseconds(finished)), wallSeconds: finished.timeIntervalSince(started)),
            dataset: .init(
                name: annotation.dataset, digest: annotation.datasetDigest.hex, modality: annotation.modality ?? "text",
                samples: annotation.samples,
                testSamples: annotation.testSamples, classes: annotation.classNames.count, hasGold: annotation.hasGold,
                quarantined: quarantined),
            seeds: annotation.seeds,
            environment: .init(
                numericsClass: run.stages.compactMap(\.numericsClass).first ?? NumericsClass("none"),
                mixedNumerics: run.allowsMixedNumerics,
                versions: [.init("amaf", AMAFVersion.current)]))
        let total = Double(max(1, annotation.samples))
        report.checkpointFractions = (annotation.checkpoints + [annotation.budget]).map { Double($0) / total }
        let refusedCount = max(refused.count, annotation.quarantinedRows)
        if refusedCount > 0 {
            let reasons = Dictionary(grouping: refused, by: \.code).map { ($0.key, $0.value.count) }.sorted { $0.0 < $1.0 }
            let byReason = reasons.isEmpty ? "" : " (\(reasons.map { "\($0.0) \($0.1)" }.joined(separator: ", ")))"
            report.warnings.append(
                "\(Text.count(refusedCount)) rows are quarantined\(byReason)\(refusedCount > quarantined.count ? "; the first \(quarantined.count) are listed" : "")."
            )
        }
        addArms(evaluations, to: &report)
        addLabelSets(evaluations, to: &report)
        if let reference = try document(ArmEvaluation.self, "evaluation", of: Planner.supervisedEvaluation, in: everything),
            let accuracy = reference.testAccuracy
        {
            report.supervised = [
                .init(
                    seed: annotation.seeds.first ?? 0,
                    classifier: "\(annotation.classifier ?? "multinomial logistic regression on hashed TF-IDF"), all gold of the pool",
                    trainingSamples: annotation.supervisedSamples, testSamples: reference.testSamples, testAccuracy: accuracy,
                    testMacroF1: reference.testMacroF1)
            ]
            addBinaryTest("all gold of the pool", reference, to: &report)
            if let score = reference.labelSet {
                report.labelSets?.append(.init(title: "all gold of the pool", seed: nil, answers: 0, score: score))
            }
        }
        try addFunctions(functions, everything, to: &report)
        if let (arm, evaluation) = evaluations.first(where: { $0.0.role == .main }) {
            try addMain(arm, evaluation, everything, to: &report)
        }
        try addAugmentation(evaluations, everything, to: &report)
        addOperations(status, run, everything, processes, try StageWalls(of: plan, connection).seconds, to: &report)
        report.summarise()
        return report
    }

    private static let quarantineExamples = 20

    /// What ingest set aside, with reasons: rows that could not be read, and pictures that could not be decoded.
    private func quarantinedRows(_ results: [StageID: StageResults]) throws -> [QuarantinedRow] {
        let none = Digest.of(Array(CanonicalJSON.encode([QuarantinedRow]()).utf8))
        var rows: [QuarantinedRow] = []
        for stage in plan.stages where stage.kind == IngestStage.kind {
            for block in results[stage.id]?.results ?? [] {
                guard let output = block.outputs.first(where: { $0.name == "quarantine" }), output.digest != none else { continue }
                rows += try CanonicalJSON.decode([QuarantinedRow].self, from: try connection.fetch(output.digest), what: "quarantine")
            }
        }
        return rows
    }

    private func addArms(_ evaluations: [(RunArm, ArmEvaluation)], to report: inout RunReport) {
        let total = Double(max(1, annotation.samples))
        let control = annotation.arms.first { $0.role == .control }?.acquisition
        var order: [String] = []
        var arms: [String: RunReport.Arm] = [:]
        for (arm, evaluation) in evaluations {
            if arm.role == .main { addBinaryTest("\(arm.acquisition), seed \(arm.seed)", evaluation, to: &report) }
            let (id, title) = name(of: arm)
            if arms[id] == nil {
                order.append(id)
                let reviewer: RunReport.Reviewer =
                    annotation.reviewMode == "file"
                    ? .people(count: 1) : .simulated(errorRate: arm.errorRate, secondsPerItem: annotation.secondsPerItem)
                let isCompared = arm.role == .main || arm.role == .withoutAugmentation
                arms[id] = .init(
                    id: id, title: title, acquisition: arm.acquisition, reviewer: reviewer, control: isCompared ? control : nil, runs: [])
            }
            var points = evaluation.points.enumerated().map { round, point in
                RunReport.BudgetPoint(
                    round: round, answersUsed: point.answers, fraction: Double(point.answers) / total, accuracy: point.accuracy,
                    unseenAccuracy: point.unseenAccuracy, unseenCount: point.unseen)
            }
            if let last = points.indices.last, let accuracy = evaluation.finalAccuracy {
                // The end of the curve is the run's own result: the aggregated labels.
                points[last].accuracy = accuracy
                points[last].unseenAccuracy = evaluation.finalUnseenAccuracy
                points[last].macroF1 = evaluation.macroF1
            }
            if let last = points.indices.last { points[last].testAccuracy = evaluation.testAccuracy }
            arms[id]?.runs.append(.init(seed: arm.seed, points: points))
        }
        report.arms = order.compactMap { arms[$0] }
    }

    private func addLabelSets(_ evaluations: [(RunArm, ArmEvaluation)], to report: inout RunReport) {
        guard annotation.hasLabelSets == true else { return }
        report.labelSets = evaluations.compactMap { arm, evaluation in
            evaluation.labelSet.map {
                let noise = arm.role == .noisyReviewer ? ", reviewer with \(Text.percent(arm.errorRate, 0)) error" : ""
                return .init(title: arm.acquisition + noise, seed: arm.seed, answers: evaluation.answersUsed, score: $0)
            }
        }
    }

    private func name(of arm: RunArm) -> (id: String, title: String) {
        switch arm.role {
        case .main: (arm.acquisition, annotation.syntheticWeight == nil ? arm.acquisition : "\(arm.acquisition), with synthetic samples")
        case .control: (arm.acquisition, arm.acquisition)
        case .noisyReviewer:
            (
                "\(arm.acquisition)-error-\(Text.fixed(arm.errorRate * 100, 1))",
                "\(arm.acquisition), reviewer with \(Text.percent(arm.errorRate, 0)) error"
            )
        case .withoutAugmentation: ("\(arm.acquisition)-without-augmentation", "\(arm.acquisition), without synthetic samples")
        }
    }

    private func addFunctions(_ file: LabelingFunctionFile?, _ results: [StageID: StageResults], to report: inout RunReport) throws {
        guard let statistics = try document(LFStatistics.self, "statistics", of: Planner.fitLabelModel, in: results) else { return }
        let analysis = LFAnalysis(statistics)
        let kinds = Dictionary(
            (file?.specs ?? []).map { ($0.name, $0.kindName) },
            uniquingKeysWith: { (first: String, _: String) in first })
        let model = try output("model", of: Planner.fitLabelModel, in: results).map { try FittedLabelModel(decoding: $0) }
        // The model leaves out functions that failed too often: by name, not by position.
        let weights = Dictionary(
            zip(model?.functions ?? [], model?.accuracies ?? []), uniquingKeysWith: { (first: Double, _: Double) in first })
        report.labelingFunctions = .init(
            coverage: analysis.coverage, overlap: analysis.overlap, conflict: analysis.conflict,
            faults: analysis.rows.reduce(0) { $0 + $1.faults },
            rows: analysis.rows.enumerated().map { position, row in
                .init(
                    name: row.function.name, kind: kinds[row.function.name] ?? "", coverage: row.coverage, overlap: row.overlaps,
                    conflict: row.conflicts, votes: statistics.perFunction[position].votes, faults: row.faults, accuracy: nil,
                    accuracySupport: 0,
                    weight: weights[row.function])
            })
        if let model {
            let evidence = try document(LabelModelEvidence.self, "evidence", of: Planner.fitLabelModel, in: results)
            report.labelModel = .init(
                chosen: model.kind.rawValue, criterion: evidence?.reason ?? "asked for by the pipeline",
                candidates: (evidence?.rows ?? []).map { row in
                    .init(
                        name: row.name, accuracy: row.accuracy, negativeLogLikelihood: row.logLoss ?? row.logLikelihood.map { -$0 },
                        heldOut: evidence?.sampleCount ?? 0, note: row.isChosen ? "chosen" : "")
                }, coverage: analysis.coverage)
        }
    }

    private func addMain(_ arm: RunArm, _ evaluation: ArmEvaluation, _ results: [StageID: StageResults], to report: inout RunReport) throws
    {
        if let evidence = try document(PoolEvidence.self, "evidence", of: Planner.aggregationEvidence(of: arm), in: results) {
            report.aggregation = .init(
                chosen: evidence.chosen, criterion: evidence.criterion,
                candidates: evidence.rows.map {
                    .init(
                        name: $0.name, accuracy: $0.accuracy, negativeLogLikelihood: $0.negativeLogLikelihood,
                        heldOut: evidence.heldOutSamples,
                        note: $0.name == evidence.chosen ? "chosen" : "")
                })
            report.warnings += evidence.warnings
            if let after = evaluation.calibration, let before = evaluation.uncalibrated {
                report.calibration = .init(
                    temperature: evidence.rows.first { $0.name == evidence.chosen }?.temperature ?? 1,
                    measuredOn: "samples that no person saw, seed \(arm.seed)", before: before, after: after)
            }
        }
        report.finalLabels = .init(rows: evaluation.bySource, contradictedAnswers: evaluation.contradictions)
        report.confusion = evaluation.confusion
        var entries: [RunReport.HumanLedger.Entry] = []
        if annotation.goldExamplesUsed > 0 {
            entries.append(
                .init(
                    purpose: "examples looked at for labeling functions", answers: annotation.goldExamplesUsed,
                    seconds: Double(annotation.goldExamplesUsed) * annotation.secondsPerItem))
        }
        let asked = evaluation.answersUsed - annotation.goldExamplesUsed
        let who = annotation.reviewMode == "simulated" ? "answers of the simulated reviewer" : "answers of people"
        entries.append(.init(purpose: who, answers: asked, seconds: evaluation.reviewSeconds))
        if let audit = evaluation.audit {
            entries.append(
                .init(
                    purpose: "audit sample", answers: audit.asked, seconds: Double(audit.asked) * annotation.secondsPerItem,
                    countsTowardsBudget: false))
            if !annotation.hasGold { report.audit = .init(agreed: audit.agreed, sampled: audit.asked) }
        }
        report.ledger = .init(
            entries: entries, secondsPerItem: annotation.secondsPerItem, samples: annotation.samples,
            isSimulated: annotation.reviewMode == "simulated")
    }

    private func addOperations(
        _ status: SchedulerSnapshot, _ run: SchedulerSnapshot.Run, _ results: [StageID: StageResults],
        _ processes: [(name: String, peakMemoryBytes: UInt64, cpuSeconds: Double)], _ walls: [String: Double], to report: inout RunReport
    ) {
        var order: [String] = []
        var stages: [String: RunReport.Stage] = [:]
        var peak: [String: Double] = [:]
        for (spec, view) in zip(plan.stages, run.stages) {
            if stages[spec.group] == nil {
                order.append(spec.group)
                stages[spec.group] = .init(name: spec.group, tasks: 0, rows: 0, wallSeconds: 0, computeSeconds: 0)
            }
            stages[spec.group]?.tasks += spec.blocks
            stages[spec.group]?.cachedTasks += view.cached
            for result in results[spec.id]?.results ?? [] {
                stages[spec.group]?.rows += Int(result.metrics["rows"] ?? 0)
                stages[spec.group]?.computeSeconds += result.metrics["wall_seconds"] ?? 0
                peak[spec.group] = max(peak[spec.group] ?? 0, result.metrics["peak_memory_bytes"] ?? 0)
            }
        }
        report.stages = order.compactMap { name in
            var stage = stages[name]
            if let compute = stage?.computeSeconds { stage?.wallSeconds = walls[name] ?? compute }
            return stage
        }
        report.processes = processes.map { .init(name: $0.name, peakMemoryBytes: $0.peakMemoryBytes, cpuSeconds: $0.cpuSeconds) }
        let totals = status.totals
        report.scheduling = .init(
            workers: status.workers.count, leasesGranted: totals.leasesGranted, leasesRevoked: totals.leasesTakenBack,
            blocksDone: totals.accepted + totals.cached, blocksRedone: totals.blocksRedone, duplicates: totals.duplicates,
            fenced: totals.fenced,
            conflicts: totals.conflicts, quarantinedBlocks: totals.quarantinedBlocks)
    }

    private func addBinaryTest(_ training: String, _ evaluation: ArmEvaluation, to report: inout RunReport) {
        guard let test = evaluation.testCuts else { return }
        func row(_ outcome: ArmEvaluation.BinaryTest.Outcome, _ origin: String) -> RunReport.BinaryTestRow {
            let interval = Proportion.clopperPearson(successes: outcome.right, trials: test.samples)
            return .init(
                training: training, answers: evaluation.answersUsed, cut: outcome.threshold, cutFrom: origin,
                samples: test.samples, accuracy: Double(outcome.right) / Double(max(1, test.samples)), low: interval.low,
                high: interval.high, f1: outcome.f1, positiveClass: test.positiveClass)
        }
        report.binaryTests = (report.binaryTests ?? []) + [row(test.plain, "none")]
        if let validated = test.validated {
            report.binaryTests?.append(row(validated, "\(test.validationSamples) validation samples"))
        }
    }

    /// What the terminal shows at the end.
    func summary(_ report: RunReport, folder: String) -> [String] {
        var lines: [String] = []
        for checkpoint in report.checkpoints {
            guard let accuracy = checkpoint.accuracy else { continue }
            let title = report.arms.first { $0.id == checkpoint.arm }?.title ?? checkpoint.arm
            var line = "\(title): \(report.labelSets == nil ? "label" : "cell") accuracy \(Text.percent(accuracy.mean, 2))"
            if let deviation = accuracy.standardDeviation { line += " ± \(Text.fixed(deviation * 100, 2))" }
            line += " with \(Text.count(checkpoint.answersUsed)) answers (\(Text.percent(checkpoint.fraction, 0)))"
            if let unseen = checkpoint.unseenAccuracy { line += ", \(Text.percent(unseen.mean, 2)) on samples no person saw" }
            lines.append(line)
        }
        for reference in report.supervised {
            lines.append(
                "classifier trained on all gold: \(Text.percent(reference.testAccuracy, 2)) on \(Text.count(reference.testSamples)) test samples"
            )
        }
        for effect in report.augmentation?.effects ?? [] {
            let p = effect.p.map { ", p \(Text.fixed($0, 4))" } ?? ""
            lines.append(
                "synthetic samples, \(effect.measure): \(Text.percent(effect.without.mean, 2)) without, \(Text.percent(effect.with.mean, 2)) with\(p)"
            )
        }
        for row in report.binaryTests ?? [] {
            lines.append(
                "test split, \(row.training), cut from \(row.cutFrom): \(Text.percent(row.accuracy, 2)) (95 % interval \(Text.percent(row.low)) to \(Text.percent(row.high))), F1 of '\(row.positiveClass)' \(row.f1.map { Text.fixed($0, 3) } ?? "-")"
            )
        }
        if let arms = report.labelSets {
            for title in arms.map(\.title).reduce(into: [String](), { if !$0.contains($1) { $0.append($1) } }) {
                let runs = arms.filter { $0.title == title }
                let areas = runs.compactMap(\.score.meanTestArea)
                guard !areas.isEmpty else { continue }
                lines.append(
                    "test split, \(title): mean AUROC \(Text.fixed(areas.reduce(0, +) / Double(areas.count), 3)) over \(annotation.classNames.count) labels, \(runs.count == 1 ? "one run" : "\(runs.count) seeds")"
                )
            }
        }
        if let audit = report.audit {
            lines.append(
                "estimated agreement with reviewers: \(Text.percent(Double(audit.agreed) / Double(max(1, audit.sampled)))) (95 % interval \(Text.percent(audit.low)) to \(Text.percent(audit.high)), \(audit.sampled) audited)"
            )
        }
        if let scheduling = report.scheduling {
            lines.append(
                "\(Text.count(scheduling.blocksDone)) blocks in \(Text.seconds(report.header.wallSeconds)); leases revoked: \(scheduling.leasesRevoked), blocks redone: \(scheduling.blocksRedone)"
            )
        }
        lines.append("report: \(folder)/report.html")
        return lines
    }
}
