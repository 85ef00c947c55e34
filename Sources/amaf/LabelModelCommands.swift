import ArgumentParser
import Foundation
import Primitives
import WeakSupervision

struct LabelModels: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "label-model", abstract: "Turn votes into labels with probabilities, without a cluster.",
        subcommands: [Fit.self, Score.self, ExplainLabel.self, AnalyzeMatrix.self])

    // MARK: fit

    struct Fit: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fit a label model to a label matrix and write posteriors, labels and the evidence for the model chosen.",
            discussion: """
                MATRIX is .npy or .npz in Snorkel's convention (samples x functions, -1 abstains) or long CSV with a header and lines of \
                item,source,label. Gold files are .npy vectors, or CSV with one label a row or item,label; -1 and blank are unknown. \
                Written into --out: model.json, classes.json, posteriors.npy (samples x classes), labels.csv and, for auto, evidence.md.

                --hierarchy lets votes name groups of classes (a domain instead of an intent). --multi-label takes item,source,label with a \
                line for each label that a source gives ('-' for none) and fits a yes-or-no model for each label. --calibrate-with makes \
                confidences mean what they say, from reviewed samples that did not teach the model; measure on others.
                """)
        @Argument(help: "The votes.")
        var matrix: String
        @Option(help: "How many classes there are; by default one more than the highest vote.")
        var classes: Int?
        @Option(help: ArgumentHelp("Votes on further samples whose gold is known.", valueName: "matrix"))
        var valid: String?
        @Option(help: ArgumentHelp("Their gold labels: for the class balance, as known labels, and to choose a model.", valueName: "file"))
        var validGold: String?
        @Option(help: ArgumentHelp("Known labels of some of MATRIX' own samples.", valueName: "file"))
        var gold: String?
        @Option(help: "uniform, learned, gold, or the classes' shares separated by commas.")
        var classBalance: String?
        @Option(
            help: ArgumentHelp("One of \(LabelModelKind.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "name"))
        var model: String = "auto"
        @Flag(help: "Let functions that repeat one another share their weight; auto does so by itself.")
        var discountDependence = false
        @Option(help: ArgumentHelp("Groups of classes: CSV of group,class, or JSON {group: [classes]}.", valueName: "file"))
        var hierarchy: String?
        @Flag(help: "Several labels a sample.")
        var multiLabel = false
        @Option(help: ArgumentHelp("Reviewed labels that set the confidences.", valueName: "file"))
        var calibrateWith: String?
        @Option(help: ArgumentHelp("Votes to label instead of MATRIX.", valueName: "matrix"))
        var apply: String?
        @Option(name: .shortAndLong, help: "Folder to write.")
        var out: String
        @OptionGroup var output: OutputOptions

        private struct Report: Encodable {
            var fit: LabelModelCommand.FitReport
            var peakMemoryBytes: Int
        }

        func run() throws {
            try reporting(json: output.json) {
                try checkClassCount(classes)
                let options = LabelModelCommand.FitOptions(
                    matrix: matrix, classCount: classes, validMatrix: valid, validGold: validGold, classBalance: try balance(),
                    kind: try kind(), applyTo: apply, output: out, gold: gold,
                    discountsDependence: discountDependence, calibrationGold: calibrateWith, hierarchy: hierarchy)
                if multiLabel { return try fitMultiLabel(options) }
                let report = try LabelModelCommand.fit(options)
                if output.json { return try Console.json(Report(fit: report, peakMemoryBytes: PeakMemory.bytes)) }
                Console.out(
                    "\(out): \(Text.count(report.samples)) samples, \(report.functions) functions, \(report.classCount) classes; "
                        + "covered \(Text.count(report.covered)) (\(Text.percent(Double(report.covered) / Double(max(1, report.samples)))))"
                )
                if let evidence = report.evidence {
                    Console.out("")
                    let isGold = evidence.goldCount > 0
                    Console.out(
                        Text.table(
                            isGold ? ["model", "accuracy %", "log loss", ""] : ["model", "log likelihood", ""],
                            evidence.rows.map { row in
                                let mark = row.isChosen ? "chosen" : ""
                                if isGold {
                                    return [
                                        row.name, row.accuracy.map { Text.fixed($0 * 100, 2) } ?? "",
                                        row.logLoss.map { Text.fixed($0, 4) } ?? "", mark,
                                    ]
                                }
                                return [row.name, row.logLikelihood.map { Text.fixed($0, 4) } ?? "", mark]
                            }, rightAligned: isGold ? [1, 2] : [1]))
                    Console.out(
                        isGold
                            ? "on \(evidence.goldCount) known labels, each left out of the fit once"
                            : "nats a row, on the half of \(Text.count(evidence.sampleCount)) rows that was left out of the fit")
                    Console.out(evidence.reason)
                    Console.out("")
                }
                Console.out(
                    "\(report.kind.rawValue), \(report.iterations) steps: fit \(Text.fixed(report.fitSeconds, 3)) s, "
                        + "predict \(Text.fixed(report.predictSeconds, 3)) s, read \(Text.fixed(report.readSeconds, 3)) s, "
                        + "write \(Text.fixed(report.writeSeconds, 3)) s; peak memory \(Text.bytes(PeakMemory.bytes))")
                if let calibration = report.calibration { Console.out(Self.text(calibration)) }
                Console.out("wrote \(report.files.joined(separator: ", "))")
            }
        }

        private func fitMultiLabel(_ options: LabelModelCommand.FitOptions) throws {
            let report = try LabelModelCommand.fitMultiLabel(options)
            if output.json { return try Console.json(report) }
            Console.out("\(out): \(Text.count(report.samples)) samples, \(report.labels.count) labels")
            Console.out(
                Text.table(
                    ["label", "sources", "model", "covered", "present", calibrateWith == nil ? "" : "calibration"],
                    report.labels.map {
                        [
                            $0.label, "\($0.sources)", $0.kind.rawValue, Text.count($0.covered), Text.count($0.present),
                            $0.calibration.map { "\($0.method.name), \($0.reviewed) reviewed" } ?? "",
                        ]
                    }, rightAligned: [1, 3, 4]))
            Console.out("wrote \(report.files.joined(separator: ", "))")
        }

        /// What calibration was chosen, and why.
        private static func text(_ calibration: PosteriorCalibration) -> String {
            guard !calibration.evidence.isEmpty else {
                return
                    "calibration: none, \(calibration.reviewed) reviewed samples are fewer than \(PosteriorCalibration.leastReviewed)"
            }
            let rows = calibration.evidence.map {
                [
                    "calibration " + $0.method, Text.fixed($0.logLoss, 4), Text.fixed($0.calibrationError * 100, 2),
                    $0.method == calibration.method.name ? "chosen" : "",
                ]
            }
            return Text.table(["on \(calibration.reviewed) reviewed, in five folds", "log loss", "ECE %", ""], rows, rightAligned: [1, 2])
        }

        private func kind() throws -> LabelModelKind? {
            guard let kind = LabelModelKind(rawValue: model) else {
                throw AMAFError(
                    "label-model.unknown-model", "There is no label model '\(model)'",
                    remedy: "Choose one of \(LabelModelKind.allCases.map(\.rawValue).joined(separator: ", ")).")
            }
            return kind
        }

        private func balance() throws -> ClassBalance? {
            switch classBalance {
            case nil: return nil
            case "uniform": return .uniform
            case "learned": return .learned
            case "gold":
                guard validGold != nil || gold != nil else {
                    throw AMAFError(
                        "label-model.class-balance", "The class balance is to come from gold, and no gold is given",
                        remedy: "Give --valid-gold or --gold.")
                }
                return .gold
            case let text?:
                if model == "auto" {
                    throw AMAFError(
                        "label-model.class-balance", "'auto' tries class balances itself", remedy: "Name a --model with --class-balance.")
                }
                let shares = text.split(separator: ",").map { Double($0.trimmingCharacters(in: .whitespaces)) }
                guard shares.count > 1, shares.allSatisfy({ ($0 ?? -1) > 0 && ($0 ?? 0).isFinite }) else {
                    throw AMAFError(
                        "label-model.class-balance", "'\(text)' is no class balance",
                        remedy: "Write uniform, learned, gold, or one positive number a class, as in 0.9,0.1.")
                }
                return .given(shares.compactMap { $0 })
            }
        }
    }

    // MARK: score

    struct Score: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Score fitted labels against gold: accuracy, F1, log loss, calibration; covered samples apart.",
            discussion:
                "F1 is of class 1 for two classes and the mean over classes otherwise; ECE has ten bins. Tied classes share the credit.")
        @Argument(help: "Folder that 'amaf label-model fit' wrote.")
        var folder: String
        @Option(help: ArgumentHelp("Gold labels: .npy, or CSV with one label a row or item,label.", valueName: "file"))
        var gold: String
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                if let scores = try LabelModelCommand.scoreMultiLabel(folder: folder, gold: gold) { return try show(scores) }
                let score = try LabelModelCommand.score(folder: folder, gold: gold)
                if output.json { return try Console.json(score) }
                func row(_ name: String, _ part: LabelModelScore.Part) -> [String] {
                    [
                        name, Text.count(part.rows), Text.fixed(part.accuracy * 100, 2), Text.fixed(part.f1 * 100, 2),
                        Text.fixed(part.logLoss, 4), Text.fixed(part.calibrationError * 100, 2),
                    ]
                }
                Console.out(
                    Text.table(
                        ["samples with gold", "count", "accuracy %", "F1 %", "log loss", "ECE %"],
                        [row("all", score.all), row("covered", score.covered)], rightAligned: [1, 2, 3, 4, 5]))
            }
        }

        private func show(_ scores: [LabelModelCommand.LabelScore]) throws {
            if output.json { return try Console.json(scores) }
            Console.out(
                Text.table(
                    ["label", "covered, with gold", "accuracy %", "F1 %", "log loss", "ECE %"],
                    scores.map {
                        let part = $0.score.covered
                        return [
                            $0.label, Text.count(part.rows), Text.fixed(part.accuracy * 100, 2), Text.fixed(part.f1 * 100, 2),
                            Text.fixed(part.logLoss, 4), Text.fixed(part.calibrationError * 100, 2),
                        ]
                    }, rightAligned: [1, 2, 3, 4, 5]))
        }
    }

    // MARK: analyze

    struct AnalyzeMatrix: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "analyze",
            abstract: "The table of all functions of a label matrix: coverage, conflicts, accuracy; who repeats whom.",
            discussion: """
                As 'amaf lf analyze', for votes that come from elsewhere. Coverage, overlaps and conflicts are fractions of all samples, as \
                Snorkel's LFAnalysis has them; intervals are Wilson's at 95 %.
                """)
        @Argument(help: "The votes: .npy, .npz or long CSV.")
        var matrix: String
        @Option(help: ArgumentHelp("Gold labels: .npy, or CSV with one label a row or item,label.", valueName: "file"))
        var gold: String?
        @Option(help: "How many classes there are; by default one more than the highest vote.")
        var classes: Int?
        @Option(help: "Pairs and error buckets to show.")
        var top: Int = 10
        @Flag(help: "Fit the label model without each function, to see what it is worth.")
        var leaveOneOut = false
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                guard top >= 0 else { throw AMAFError("lf.count", "--top is negative", remedy: "Give a positive number.") }
                try checkClassCount(classes)
                let read = try ImportedLabelMatrix.read(matrix, classCount: classes)
                let names = read.classNames
                var truth: ((Int) -> Int?)?
                if let gold {
                    let known = try LabelModelCommand.readGold(
                        gold, items: read.sampleNames, classNames: names, count: read.matrix.sampleCount)
                    truth = { $0 < known.count ? known[$0] : nil }
                }
                let report = try LabelingFunctionReport(read.matrix, classNames: names, gold: truth, top: top, leavesOneOut: leaveOneOut)
                if output.json { return try Console.json(report) }
                report.show(classNames: names, top: top) { $0 < read.sampleNames.count ? read.sampleNames[$0] : "row \($0)" }
            }
        }
    }

    private static func checkClassCount(_ classes: Int?) throws(AMAFError) {
        guard let classes, !(2...32_767).contains(classes) else { return }
        throw AMAFError("label-model.classes", "--classes is \(classes)", remedy: "Give a number between 2 and 32,767.")
    }

    // MARK: explain

    struct ExplainLabel: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "explain", abstract: "Show what every vote adds to one sample's log-odds.")
        @Argument(help: "Folder that 'amaf label-model fit' wrote.")
        var folder: String
        @Option(help: ArgumentHelp("The votes.", valueName: "matrix"))
        var matrix: String
        @Option(help: "The sample: its name in a vote list, its row (from 0) in an array.")
        var item: String
        @Option(
            help: ArgumentHelp("Two classes to compare, separated by a comma; by default the likeliest and the next.", valueName: "names"))
        var between: String?
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                var pair: (String, String)?
                if let between {
                    let names = between.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
                    guard names.count == 2 else {
                        throw AMAFError(
                            "label-model.unknown-class", "'\(between)' does not name two classes", remedy: "Write --between one,two.")
                    }
                    pair = (names[0], names[1])
                }
                let found = try LabelModelCommand.explain(folder: folder, matrix: matrix, item: item, classes: pair)
                if output.json { return try Console.json(found) }
                Console.out(
                    "\(found.item): \(found.label) \(Text.fixed(found.probability, 4)), \(found.against) \(Text.fixed(found.runnerUpProbability, 4)); "
                        + "log-odds \(Text.fixed(found.logOdds, 3))")
                Console.out(
                    Text.table(
                        ["source", "says", "log-odds"],
                        found.parts.map { [$0.source, $0.vote ?? "", ($0.logOdds >= 0 ? "+" : "") + Text.fixed($0.logOdds, 3)] },
                        rightAligned: [2]))
            }
        }
    }
}
