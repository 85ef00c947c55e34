import ArgumentParser
import Augmentation
import Evaluation
import Foundation
import Primitives

struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Ask whether labels are as good for everyone.", subcommands: [BiasAuditCommand.self])
}

struct BiasAuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bias", abstract: "Compare the accuracy of labels between groups: by sex, site, age, view …",
        discussion: """
            LABELS is the folder of a finished `amaf run`, whose data set has the truth and the metadata, or a CSV file of labels with --gold and, \
            where they lie in another file, --metadata. For each column: every group's accuracy with Wilson's interval, the worst group, and four \
            gaps (best and worst group, frequent and rare groups, demographic parity, equal opportunity), each with a bootstrap interval, the gap \
            that chance alone makes, and p. Groups that are too small are named and not compared.

              amaf audit bias amaf-output/chest-xray --by sex,view --by age=40,60 --cluster patient
              amaf audit bias labels.csv --gold truth.csv --metadata patients.csv --id image --by sex
            """)

    @Argument(help: ArgumentHelp("A run's folder, or a CSV file.", valueName: "labels"))
    var source: String
    @Option(help: ArgumentHelp("Columns of metadata, separated by commas; NAME=CUT,CUT… makes groups of a number.", valueName: "columns"))
    var by: [String]
    @Option(
        help: ArgumentHelp(
            "The labels to audit, separated by commas: columns of a CSV, or some of a run's several labels.", valueName: "names"))
    var label: String?
    @Option(help: ArgumentHelp("CSV file with true labels.", valueName: "file")) var gold: String?
    @Option(help: ArgumentHelp("Column of the true label where it has another name.", valueName: "name")) var goldColumn: String?
    @Option(help: ArgumentHelp("CSV file with metadata.", valueName: "file")) var metadata: String?
    @Option(help: ArgumentHelp("Column of ids in CSV files; a file without it must have 'id'.", valueName: "name")) var id = "id"
    @Option(
        help: ArgumentHelp(
            "The class that parity and opportunity are about; by default every class, or '1' of 0 and 1.", valueName: "class"))
    var positive: String?
    @Option(help: ArgumentHelp("Column of what belongs together (patients), drawn whole for intervals.", valueName: "column"))
    var cluster: String?
    @Flag(help: "Only labels that no person answered: a run's own answers are right in every group.") var unseen = false
    @Option(help: "Samples below which a group is not compared.") var minimum = 20
    @Option(help: "Samples of a class in a group below which its recognition is not compared.") var minimumOfClass = 10
    @Option(help: "Of the bootstrap, and of the groups dealt out at random.") var resamples = 1000
    @Option(help: "Of both.") var seed: UInt64 = 1
    @OptionGroup var format: OutputOptions

    /// One label by one column.
    struct Result: Encodable {
        var label: String
        var audit: GroupAudit
        /// Samples without a known truth, without a label, without this column, and seen by a person where these are left out.
        var unknownTruth: Int
        var unlabelled: Int
        var withoutGroup: Int
        var seen: Int
    }

    func run() throws {
        try reporting(json: format.json) {
            guard minimum >= 2, minimumOfClass >= 1, (100...100_000).contains(resamples) else {
                throw AMAFError(
                    "audit.settings", "Groups of \(minimum), classes of \(minimumOfClass), \(resamples) resamples",
                    remedy: "Give --minimum 2 or more, --minimum-of-class 1 or more, --resamples 100 to 100000.")
            }
            let groupings = try by.flatMap(Grouping.parse)
            let wanted = label?.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } ?? []
            var isFolder: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: source, isDirectory: &isFolder)
            let data: AuditData
            if isFolder.boolValue {
                guard gold == nil, goldColumn == nil, metadata == nil else {
                    throw AMAFError(
                        "audit.settings", "A run has its own truth and metadata",
                        remedy: "Give its labels.csv to audit it against other files.")
                }
                data = try AuditData(run: source, wanted: wanted)
            } else {
                let columns = wanted.isEmpty ? ["label"] : wanted
                guard columns.count == 1 || goldColumn == nil else {
                    throw AMAFError(
                        "audit.settings", "\(columns.count) labels cannot be judged by the one column '\(goldColumn ?? "")'",
                        remedy: "Give their columns the same names in both files.")
                }
                data = try AuditData(
                    AuditData.Files(
                        labels: source, gold: gold, metadata: metadata, id: id, columns: columns, goldColumn: goldColumn, positive: positive
                    ))
            }
            for column in groupings.map(\.column) + [cluster].compactMap({ $0 }) where !data.metadata.contains(where: { $0[column] != nil })
            {
                throw AMAFError(
                    "audit.no-column", "No sample has metadata '\(column)'", place: source,
                    remedy: "There is \(Set(data.metadata.flatMap(\.keys)).sorted().joined(separator: ", ")).")
            }
            let results = data.labels.flatMap { label in groupings.map { audit(label, by: $0, data) } }
            if format.json {
                try Console.json(results)
            } else {
                for result in results { for line in AuditText.lines(result) { Console.out(line) } }
            }
        }
    }

    private func audit(_ label: AuditData.Label, by grouping: Grouping, _ data: AuditData) -> Result {
        var rows: [GroupAudit.Row] = []
        var (unknown, unlabelled, withoutGroup, seen) = (0, 0, 0, 0)
        for i in data.ids.indices {
            guard let gold = label.gold[i] else {
                unknown += 1
                continue
            }
            guard let predicted = label.predicted[i] else {
                unlabelled += 1
                continue
            }
            if unseen, label.isSeen[i] {
                seen += 1
                continue
            }
            guard let group = grouping.group(of: data.metadata[i][grouping.column]) else {
                withoutGroup += 1
                continue
            }
            rows.append(
                GroupAudit.Row(
                    gold: gold, predicted: predicted, group: group, cluster: cluster.flatMap { data.metadata[i][$0] } ?? data.ids[i]))
        }
        var settings = GroupAudit.Settings()
        settings.minimumSamples = minimum
        settings.minimumOfClass = minimumOfClass
        settings.resamples = resamples
        settings.seed = seed
        let chosen = positive.flatMap { name in label.classes.firstIndex(of: name) } ?? label.positive
        return Result(
            label: label.name, audit: GroupAudit(column: grouping.name, rows: rows, classes: label.classes, positive: chosen, settings),
            unknownTruth: unknown, unlabelled: unlabelled, withoutGroup: withoutGroup, seen: seen)
    }
}

/// A column of metadata as groups: its values, or ranges of a number.
struct Grouping {
    var column: String
    /// Ascending; empty takes the values as they are.
    var cuts: [Double]
    var name: String

    /// `sex,view` or `age=40,60`.
    static func parse(_ text: String) throws -> [Grouping] {
        guard let sign = text.firstIndex(of: "=") else {
            return text.split(separator: ",").map { Grouping(column: String($0), cuts: [], name: String($0)) }
        }
        let column = String(text[..<sign])
        let cuts = text[text.index(after: sign)...].split(separator: ",").map { Double($0) }
        guard !column.isEmpty, !cuts.isEmpty, cuts.allSatisfy({ $0?.isFinite ?? false }),
            zip(cuts, cuts.dropFirst()).allSatisfy({ ($0 ?? 0) < ($1 ?? 0) })
        else {
            throw AMAFError(
                "audit.settings", "'\(text)' does not say how a number falls into groups",
                remedy: "For example --by age=40,60: ascending numbers.")
        }
        return [Grouping(column: column, cuts: cuts.compactMap { $0 }, name: column)]
    }

    /// Nil without a value, or with one that is no number where ranges are wanted.
    func group(of value: String?) -> String? {
        guard let value = value?.trimmingCharacters(in: .whitespaces), !value.isEmpty else { return nil }
        guard let first = cuts.first, let last = cuts.last else { return value }
        guard let number = Double(value), number.isFinite else { return nil }
        func text(_ cut: Double) -> String { cut == cut.rounded() && abs(cut) < 1e15 ? String(Int(cut)) : String(cut) }
        if number < first { return "below \(text(first))" }
        guard number < last, let upper = cuts.firstIndex(where: { number < $0 }) else { return "\(text(last)) and above" }
        return "\(text(cuts[upper - 1])) to below \(text(cuts[upper]))"
    }
}

/// An audit for people.
enum AuditText {
    static func lines(_ result: BiasAuditCommand.Result) -> [String] {
        let audit = result.audit
        let judged = audit.groups.reduce(0) { $0 + $1.samples }
        var lines = ["", "\(result.label) by \(audit.column): \(Text.count(judged)) judged samples"]
        var left: [String] = []
        for (count, what) in [
            (result.unknownTruth, "without a known truth"), (result.unlabelled, "without a label"),
            (result.withoutGroup, "without this column"), (result.seen, "answered by a person"),
        ] where count > 0 { left.append("\(Text.count(count)) \(what)") }
        if !left.isEmpty { lines[1] += " (left out: \(left.joined(separator: ", ")))" }
        lines.append(
            Text.table(
                ["  group", "samples", "accuracy", "95 % interval", ""],
                audit.groups.map { group in
                    let note = group.isTooSmall ? "too small to compare" : group.name == audit.worst ? "worst" : ""
                    return [
                        "  " + group.name, Text.count(group.samples), Text.percent(group.accuracy),
                        "\(Text.fixed(group.interval.low * 100, 1)) to \(Text.percent(group.interval.high))", note,
                    ]
                }, rightAligned: [1, 2, 3]))
        var rows: [[String]] = []
        for (name, gap) in [
            ("best − worst accuracy", audit.accuracyGap), ("frequent − rare accuracy", audit.headTailGap),
            ("demographic parity", audit.parityGap), ("equal opportunity", audit.opportunityGap),
        ] {
            guard let gap else {
                rows.append(["  " + name, "not comparable", "", "", "", ""])
                continue
            }
            let interval = gap.interval.map { "\(Text.fixed($0.low * 100, 1)) to \(Text.fixed($0.high * 100, 1))" } ?? "–"
            rows.append([
                "  " + name, Text.fixed(gap.value * 100, 1), interval, Text.fixed(gap.chance * 100, 1), Text.fixed(gap.p, 3),
                "\(gap.high) against \(gap.low)" + (gap.className.map { ", '\($0)'" } ?? "")
                    + (gap.truth.map { " (truly \(Text.fixed($0 * 100, 1)))" } ?? ""),
            ])
        }
        lines.append(
            Text.table(["  gap, points", "value", "95 % interval", "by chance", "p", "between"], rows, rightAligned: [1, 2, 3, 4]))
        if !audit.notCompared.isEmpty {
            lines.append("  too few to compare equal opportunity: \(audit.notCompared.joined(separator: "; "))")
        }
        return lines
    }
}
