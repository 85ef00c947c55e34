import ArgumentParser
import Datasets
import Foundation
import Manifests
import Primitives
import WeakSupervision

struct LabelingFunctions: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lf", abstract: "Write, try and apply labeling functions without a cluster.",
        subcommands: [Apply.self, List.self, Test.self, Analyze.self])

    private static func withScratch(_ body: (String) throws -> Void) throws {
        let scratch = NSTemporaryDirectory() + "amaf-lf-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: scratch) }
        try body(scratch)
    }

    // MARK: apply

    struct Apply: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Apply labeling functions to a data file and write the label matrix.",
            discussion: """
                The matrix has Snorkel's form: samples x functions, the number of a class or -1. Beside it FILE.names.json says what the columns and \
                classes are called; 'amaf label-model fit' reads both. With --cache only what changed is computed again.
                """)
        @Argument(help: "The functions, a file as in configs/labeling-functions.")
        var functions: String
        @OptionGroup var data: LabelingDataOptions
        @Option(name: .shortAndLong, help: "The matrix to write: .npz or .npy (Snorkel's convention), or .csv with one vote a line.")
        var out: String
        @Option(help: "Folder that keeps votes by function and block from one call to the next.")
        var cache: String?
        @OptionGroup var output: OutputOptions

        struct Report: Encodable {
            struct Fault: Encodable {
                var function: String
                var count: Int
                var firstSample: Int
                var firstError: AMAFError
                /// On more than half of the samples: the function is not fit to vote.
                var isQuarantined: Bool
            }
            var matrix: String
            var samples: Int
            var functions: Int
            var classes: [String]
            var votes: Int
            var coverage: Double
            var faults: [Fault]
            var quarantinedRows: Int
            var computedColumns: Int
            var cachedColumns: Int
            var functionSeconds: Double
            var readSeconds: Double
            var cacheSeconds: Double
            var totalSeconds: Double
            var peakMemoryBytes: Int
        }

        func run() throws {
            try reporting(json: output.json) {
                try LabelingFunctions.withScratch { scratch in
                    let clock = ContinuousClock()
                    let start = clock.now
                    guard [".npz", ".npy", ".csv"].contains(where: out.hasSuffix) else {
                        throw AMAFError(
                            "lf.output", "The form of '\(out)' is unknown", remedy: "Let its name end with .npz, .npy or .csv.")
                    }
                    let input = try LabelingData(functions: functions, data, blockSize: 16_384, scratch: scratch, cache: cache)
                    let cache = try cache.map { try VoteCache(folder: $0, classNames: input.classNames) }
                    let applied: LabelingFunctionCommand.Applied
                    do {
                        applied = try LabelingFunctionCommand.apply(
                            input.file.specs, classNames: input.classNames, to: input.commandSource(), cache: cache, context: data.context)
                    } catch let error as AMAFError { throw input.file.located(error) }
                    let matrix = applied.matrix
                    if out.hasSuffix(".csv") {
                        try matrix.writeCSV(to: out, classNames: input.classNames)
                    } else {
                        try matrix.writeNumPy(to: out)
                        try LabelMatrixNames(matrix, classNames: input.classNames).write(besides: out)
                    }
                    let statistics = LFStatistics(matrix)
                    let report = Report(
                        matrix: out, samples: matrix.sampleCount, functions: matrix.functions.count, classes: input.classNames,
                        votes: statistics.perFunction.reduce(0) { $0 + $1.votes }, coverage: LFAnalysis(statistics).coverage,
                        faults: applied.faults.map {
                            Report.Fault(
                                function: $0.function.name, count: $0.summary.count, firstSample: $0.summary.firstSample,
                                firstError: $0.summary.firstError, isQuarantined: $0.summary.count * 2 > matrix.rowCount)
                        },
                        quarantinedRows: input.index.quarantinedRows, computedColumns: applied.computedColumns,
                        cachedColumns: applied.cachedColumns, functionSeconds: applied.functionSeconds, readSeconds: applied.readSeconds,
                        cacheSeconds: applied.cacheSeconds, totalSeconds: start.duration(to: clock.now).seconds,
                        peakMemoryBytes: PeakMemory.bytes)
                    if output.json { return try Console.json(report) }
                    for fault in report.faults {
                        Console.note(
                            "amaf: '\(fault.function)' failed on \(Text.count(fault.count)) samples\(fault.isQuarantined ? " and should not vote" : ""), "
                                + "first at row \(fault.firstSample): \(fault.firstError)")
                    }
                    if report.quarantinedRows > 0, let first = input.index.quarantineExamples.first {
                        Console.note("amaf: \(Text.count(report.quarantinedRows)) rows were left out, first: \(first.error)")
                    }
                    Console.out(
                        "\(out): \(Text.count(report.samples)) samples x \(report.functions) functions, \(Text.count(report.votes)) votes, "
                            + "coverage \(Text.percent(report.coverage))")
                    Console.out(
                        "classes: \(input.classNames.enumerated().prefix(12).map { "\($0) \($1)" }.joined(separator: ", "))"
                            + (input.classNames.count > 12 ? ", … (\(input.classNames.count))" : ""))
                    var time = "\(Text.fixed(report.totalSeconds, 2)) s, of which functions \(Text.fixed(report.functionSeconds, 3)) s"
                    if cache != nil {
                        time += "; \(report.cachedColumns) of \(report.cachedColumns + report.computedColumns) column blocks from the cache"
                    }
                    Console.out("\(time); peak memory \(Text.bytes(report.peakMemoryBytes))")
                }
            }
        }
    }

    // MARK: list

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the functions of a file: kind, digest, classes.")
        @Argument(help: "The functions, a file as in configs/labeling-functions.")
        var functions: String
        @OptionGroup var output: OutputOptions

        private struct Entry: Encodable {
            var name: String
            var kind: String
            var digest: String
            var classes: [String]
            var place: String
            var needsExec: Bool
        }

        func run() throws {
            try reporting(json: output.json) {
                let entries = try LabelingFunctionFile.load(functions).entries.map { entry in
                    Entry(
                        name: entry.spec.name, kind: entry.spec.kindName, digest: entry.spec.digest.hex, classes: entry.spec.classNames,
                        place: entry.place, needsExec: entry.spec.needsExec)
                }
                if output.json { return try Console.json(entries) }
                Console.out(
                    Text.table(
                        ["function", "kind", "digest", "votes for"],
                        entries.map { entry in
                            let shown = entry.classes.prefix(3).joined(separator: ", ") + (entry.classes.count > 3 ? ", …" : "")
                            return [
                                entry.name, entry.kind + (entry.needsExec ? " (needs --allow-exec)" : ""), String(entry.digest.prefix(12)),
                                entry.classes.isEmpty ? "any class" : shown,
                            ]
                        }))
            }
        }
    }

    // MARK: test

    struct Test: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what one function votes on, with examples.",
            discussion: "Looks at a part of the data, evenly spread, so that it answers at once however large the file is.")
        @Argument(help: "The functions, a file as in configs/labeling-functions.")
        var functions: String
        @Argument(help: "The function's name.")
        var name: String
        @OptionGroup var data: LabelingDataOptions
        @Option(help: "Samples to look at.")
        var sample: Int = 2000
        @Option(help: "Examples for each class.")
        var limit: Int = 5
        @OptionGroup var output: OutputOptions

        private struct Example: Encodable {
            var row: Int
            var id: String
            var text: String
            var vote: String?
            var gold: String?
        }
        private struct Report: Encodable {
            var function: String
            var samples: Int
            var votes: Int
            var right: Int
            var judged: Int
            var faults: Int
            var firstFault: AMAFError?
            var examples: [Example]
        }

        func run() throws {
            try reporting(json: output.json) {
                try LabelingFunctions.withScratch { scratch in
                    guard sample > 0, limit > 0 else {
                        throw AMAFError("lf.count", "--sample and --limit are at least 1", remedy: "Give positive numbers.")
                    }
                    let input = try LabelingData(functions: functions, data, blockSize: 256, scratch: scratch)
                    guard let entry = input.file.entries.first(where: { $0.spec.name == name }) else {
                        throw AMAFError(
                            "lf.unknown", "There is no labeling function '\(name)'", place: functions,
                            remedy: "There are \(input.file.specs.map(\.name).prefix(20).joined(separator: ", ")).")
                    }
                    let (samples, positions, gold) = try input.spread(sample)
                    let found: (examples: [(row: Int, className: String?)], column: VoteColumn)
                    do throws(AMAFError) {
                        found = try LabelingFunctionCommand.test(
                            entry.spec, classNames: input.classNames, samples: samples, limit: limit, context: data.context)
                    } catch { throw input.file.located(error) }
                    var report = Report(
                        function: name, samples: samples.count, votes: 0, right: 0, judged: 0, faults: found.column.faults?.count ?? 0,
                        firstFault: found.column.faults?.firstError, examples: [])
                    found.column.votes.forEach { row, vote in
                        guard vote >= 0 else { return }
                        report.votes += 1
                        guard let truth = gold[row] else { return }
                        report.judged += 1
                        if truth == Int(vote) { report.right += 1 }
                    }
                    report.examples = found.examples.map { example in
                        Example(
                            row: positions[example.row], id: samples[example.row]?.id ?? "", text: samples[example.row]?.text ?? "",
                            vote: example.className, gold: gold[example.row].map { input.classNames[$0] })
                    }
                    if output.json { return try Console.json(report) }
                    var line = "\(name): votes on \(report.votes) of \(report.samples) samples"
                    if report.judged > 0, let interval = LFAnalysis.wilsonInterval(successes: report.right, trials: report.judged) {
                        line += ", right on \(Text.percent(Double(report.right) / Double(report.judged))) of \(report.judged) with gold "
                        line += "(95 % interval \(Text.percent(interval.lowerBound)) to \(Text.percent(interval.upperBound)))"
                    }
                    Console.out(line)
                    if let fault = report.firstFault { Console.out("failed on \(report.faults) samples, first: \(fault)") }
                    for example in report.examples {
                        let mark = example.gold.map { $0 == example.vote ? "" : "  [gold \($0)]" } ?? ""
                        Console.out("  \(example.row)  \(example.vote ?? "fault")\(mark)  \(example.text.prefix(120))")
                    }
                }
            }
        }
    }

    // MARK: analyze

    struct Analyze: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The table of all functions: coverage, conflicts, accuracy; who repeats whom; errors with examples.",
            discussion: """
                Coverage, overlaps and conflicts are fractions of all samples looked at, as Snorkel's LFAnalysis has them; intervals are Wilson's at 95 %. \
                Gold labels are used when the data have them.
                """)
        @Argument(help: "The functions, a file as in configs/labeling-functions.")
        var functions: String
        @OptionGroup var data: LabelingDataOptions
        @Option(help: "Samples to look at, evenly spread; 0 for all.")
        var sample: Int = 5000
        @Option(help: "Pairs and error buckets to show.")
        var top: Int = 10
        @Flag(help: "Fit the label model without each function, to see what it is worth.")
        var leaveOneOut = false
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                try LabelingFunctions.withScratch { scratch in
                    guard sample >= 0, top >= 0 else {
                        throw AMAFError("lf.count", "--sample and --top are not negative", remedy: "Give positive numbers.")
                    }
                    let input = try LabelingData(functions: functions, data, blockSize: 256, scratch: scratch)
                    try input.compile(data.context)
                    let (samples, positions, gold) = try input.spread(sample == 0 ? input.index.samples : min(sample, 10_000_000))
                    let names = input.classNames
                    let set = try LabelingFunctionSet(specs: input.file.specs, classNames: names, context: data.context)
                    var matrix = LabelMatrix(classCount: names.count, functions: set.ids)
                    for first in stride(from: 0, to: samples.count, by: 16_384) {
                        try matrix.insert(
                            set.apply(samples: Array(samples[first..<min(samples.count, first + 16_384)]), firstSample: first))
                    }
                    let truth: ((Int) -> Int?)? = input.index.labelledRows > 0 ? { gold[$0] } : nil
                    let report = try LabelingFunctionReport(matrix, classNames: names, gold: truth, top: top, leavesOneOut: leaveOneOut)
                    if output.json { return try Console.json(report) }
                    report.show(classNames: names, top: top) { "\(positions[$0])  \(samples[$0]?.text.prefix(110) ?? "")" }
                    for (id, fault) in zip(matrix.functions, matrix.faults) {
                        guard let fault else { continue }
                        Console.note(
                            "amaf: '\(id.name)' failed on \(fault.count) samples, first at row \(positions[fault.firstSample]): \(fault.firstError)"
                        )
                    }
                }
            }
        }
    }
}
