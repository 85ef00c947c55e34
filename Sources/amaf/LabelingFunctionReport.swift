import Primitives
import WeakSupervision

/// What `amaf lf analyze` and `amaf label-model analyze` say of a label matrix.
struct LabelingFunctionReport: Encodable {
    struct Row: Encodable {
        struct Precision: Encodable {
            var className: String
            var precision: Double
            var low: Double
            var high: Double
        }
        var function: String
        var polarity: [String]
        var coverage: Double
        var overlaps: Double
        var conflicts: Double
        var correct: Int
        var incorrect: Int
        var accuracy: Double?
        var accuracyLow: Double?
        var accuracyHigh: Double?
        var precisionByClass: [Precision]
        var faults: Int
    }
    var samples: Int
    var coverage: Double
    var overlap: Double
    var conflict: Double
    var functions: [Row]
    var pairs: [LFInsight.Pair]
    var leaveOneOut: [LFInsight.LeaveOneOut]
    var errors: [LFInsight.ErrorBucket]

    /// - Parameters:
    ///   - gold: the true class by row where known; nil when nothing is.
    ///   - top: pairs and error buckets kept.
    init(_ matrix: LabelMatrix, classNames names: [String], gold: ((Int) -> Int?)?, top: Int, leavesOneOut: Bool) throws(AMAFError) {
        let statistics = LFStatistics(matrix, gold: gold)
        let analysis = LFAnalysis(statistics)
        let insight = try LFInsight(matrix, gold: gold, pairLimit: max(top, 1), leavesOneOut: leavesOneOut)
        func name(_ c: Int) -> String { c < names.count ? names[c] : "\(c)" }
        samples = statistics.samples
        coverage = analysis.coverage
        overlap = analysis.overlap
        conflict = analysis.conflict
        functions = analysis.rows.map { row in
            Row(
                function: row.function.name, polarity: row.polarity.map(name), coverage: row.coverage, overlaps: row.overlaps,
                conflicts: row.conflicts, correct: row.correct, incorrect: row.incorrect,
                accuracy: row.accuracyInterval.map { _ in row.empiricalAccuracy }, accuracyLow: row.accuracyInterval?.lowerBound,
                accuracyHigh: row.accuracyInterval?.upperBound,
                precisionByClass: row.precisionByClass.map {
                    Row.Precision(
                        className: name($0.classIndex), precision: $0.precision, low: $0.interval.lowerBound, high: $0.interval.upperBound)
                }, faults: row.faults)
        }
        pairs = insight.pairs
        leaveOneOut = insight.leaveOneOut
        errors = Array(insight.errors.prefix(top))
    }

    /// Prints the tables.
    ///
    /// - Parameter example: what to call a row that stands for an error, and its text where there is one.
    func show(classNames names: [String], top: Int, example: (Int) -> String) {
        func percent(_ value: Double) -> String { Text.fixed(value * 100, 1) }
        func name(_ c: Int) -> String { c < names.count ? names[c] : "\(c)" }
        Console.out(
            Text.table(
                ["function", "votes for", "coverage %", "overlaps %", "conflicts %", "accuracy %", "95 % interval", "faults"],
                functions.map { row in
                    let polarity = row.polarity.count > 2 ? "\(row.polarity.count) classes" : row.polarity.joined(separator: "/")
                    let interval = row.accuracyLow.map { "\(percent($0))–\(percent(row.accuracyHigh ?? 1))" } ?? ""
                    return [
                        row.function, polarity, percent(row.coverage), percent(row.overlaps), percent(row.conflicts),
                        row.accuracy.map(percent) ?? "", interval, "\(row.faults)",
                    ]
                }, rightAligned: [2, 3, 4, 5, 6, 7]))
        Console.out(
            "\(Text.count(samples)) samples: covered \(percent(coverage)) %, by two or more \(percent(overlap)) %, "
                + "in conflict \(percent(conflict)) %")
        if !pairs.isEmpty, top > 0 {
            Console.out("\nPairs that vote together most; kappa is agreement beyond chance, lift is togetherness beyond chance:")
            Console.out(
                Text.table(
                    ["first", "second", "together", "alike %", "kappa", "lift", ""],
                    pairs.prefix(top).map { pair in
                        [
                            pair.first.name, pair.second.name, "\(pair.together)", percent(pair.agreement),
                            pair.kappa.map { Text.fixed($0, 2) } ?? "", Text.fixed(pair.lift, 2),
                            pair.isNearDuplicate ? "nearly the same function" : "",
                        ]
                    }, rightAligned: [2, 3, 4, 5]))
        }
        if !leaveOneOut.isEmpty {
            Console.out("\nWithout one function (log-linear model):")
            Console.out(
                Text.table(
                    ["function", "coverage lost %", "labels changed %", "accuracy it adds %"],
                    leaveOneOut.map { item in
                        [
                            item.function.name, percent(item.coverageLost), percent(item.labelsChanged),
                            item.accuracyGain.map { ($0 >= 0 ? "+" : "") + Text.fixed($0 * 100, 2) } ?? "",
                        ]
                    }, rightAligned: [1, 2, 3]))
        }
        guard !errors.isEmpty else { return }
        Console.out("\nMost frequent errors:")
        for bucket in errors {
            Console.out("  \(bucket.function.name) says \(name(bucket.votedClass)), it is \(name(bucket.trueClass)): \(bucket.count) times")
            for row in bucket.examples { Console.out("    \(example(row))") }
        }
    }
}
