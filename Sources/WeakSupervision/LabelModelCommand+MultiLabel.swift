internal import Foundation
package import Primitives

extension LabelModelCommand {
    static let multiLabelFile = "multi-label.json"

    /// How one label of several came out.
    package struct LabelFit: Hashable, Sendable, Codable {
        package var label: String
        /// Sources that name it anywhere.
        package var sources: Int
        package var kind: LabelModelKind
        package var covered: Int
        /// Samples that have it with p above one half.
        package var present: Int
        package var model: String
        package var calibration: PosteriorCalibration?
    }

    package struct MultiLabelReport: Hashable, Sendable, Codable {
        package var samples: Int
        package var labels: [LabelFit]
        package var files: [String]
    }

    /// `fit --multi-label`: a yes-or-no model for each label of a list `item,source,label`, in which a source says its whole set by several
    /// lines, and `-` where it has none. Writes `multi-label.json`, `classes.json`, a `model-N.json` for each label, `posteriors.npy`
    /// (samples × labels, P(present), NaN where no source that knows the label answered) and `labels.csv` (item, then value and confidence
    /// of each label; no value without an answer or at a tie).
    package static func fitMultiLabel(_ options: FitOptions) throws(AMAFError) -> MultiLabelReport {
        guard options.gold == nil, options.validMatrix == nil, options.validGold == nil, options.classBalance == nil,
            options.applyTo == nil, options.classCount == nil, !options.discountsDependence, options.hierarchy == nil
        else {
            throw AMAFError(
                "label-model.multi-label-options", "Several labels are fitted without gold, on the votes that are labelled",
                remedy: "Leave out the options on gold, balance, classes, hierarchy and --apply; --model and --calibrate-with go with it.")
        }
        guard !options.matrix.hasSuffix(".npy"), !options.matrix.hasSuffix(".npz") else {
            throw AMAFError(
                "label-model.multi-label-options", "A NumPy matrix has one vote for each sample and function", place: options.matrix,
                remedy: "Give a CSV of item,source,label with a line for each label that a source gives.")
        }
        let votes = try MultiLabelVotes.read(options.matrix)
        let reviewed = try options.calibrationGold.map { (path) throws(AMAFError) in try LabelSets.read(path, labels: votes.labels) }
        let fitted = try votes.fit(options.kind ?? .auto)
        var folder = try LabelModelFolder(options.output)
        folder.remove(otherFiles)
        var probabilities: [[Float?]] = []
        var report = MultiLabelReport(samples: votes.sampleNames.count, labels: [], files: [])
        for (label, found) in fitted.enumerated() {
            let calibration = reviewed.map { calibrate(found.probabilities, label: label, reviewed: $0, items: votes.sampleNames) }
            let own = found.probabilities.map { p in
                p.map { p in calibration.map { Self.yes($0.apply(Self.posterior(p))) } ?? p }
            }
            let model = "model-\(label).json"
            try folder.put(found.model.encoded(), model)
            report.labels.append(
                LabelFit(
                    label: votes.labels[label], sources: votes.matrices[label].functions.count, kind: found.model.kind,
                    covered: own.count { $0 != nil }, present: own.count { $0.map { $0 > 0.5 } ?? false }, model: model,
                    calibration: calibration))
            probabilities.append(own)
        }
        try folder.put(json: votes.labels, "classes.json")
        try folder.put(json: report.labels, multiLabelFile)
        try folder.put(Array(csv(votes, probabilities).utf8), "labels.csv")
        var array = try NumPyWriter(
            path: "\(options.output)/posteriors.npy", shape: [votes.sampleNames.count, votes.labels.count], type: "<f4", itemSize: 4,
            entry: nil)
        for row in votes.sampleNames.indices { try array.append(array: probabilities.map { $0[row] ?? .nan }) }
        try array.finish()
        report.files = folder.files + ["posteriors.npy"]
        return report
    }

    private static func csv(_ votes: MultiLabelVotes, _ probabilities: [[Float?]]) -> String {
        var lines = [(["item"] + votes.labels.flatMap { [$0, "\($0) confidence"] }).map(CSVText.quoted).joined(separator: ",")]
        for (row, item) in votes.sampleNames.enumerated() {
            let fields = probabilities.flatMap { column -> [String] in
                guard let p = column[row] else { return ["", "0"] }
                return [p == 0.5 ? "" : p > 0.5 ? "1" : "0", "\(max(p, 1 - p))"]
            }
            lines.append(([item] + fields).map(CSVText.quoted).joined(separator: ","))
        }
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: Yes and no as two classes

    static func posterior(_ p: Float) -> Posterior {
        let entries = [Posterior.Entry(classIndex: 1, probability: p), Posterior.Entry(classIndex: 0, probability: 1 - p)]
        return Posterior(classCount: 2, entries: p >= 0.5 ? entries : entries.reversed(), isCovered: true, isTied: p == 0.5)
    }

    private static func yes(_ posterior: Posterior) -> Float { posterior.probability(of: 1) }

    private static func calibrate(
        _ probabilities: [Float?], label: Int, reviewed: LabelSets, items: [String]
    ) -> PosteriorCalibration {
        var (posteriors, truth): ([Posterior], [Int]) = ([], [])
        for (row, item) in items.enumerated() {
            guard let p = probabilities[row], let set = reviewed.sets[item] else { continue }
            posteriors.append(posterior(p))
            truth.append(set.contains(label) ? 1 : 0)
        }
        return PosteriorCalibration(posteriors, truth: truth)
    }

    // MARK: Scores

    package struct LabelScore: Hashable, Sendable, Codable {
        package var label: String
        package var score: LabelModelScore
    }

    /// Scores a folder that `fit --multi-label` wrote, label by label, against a CSV of `item,label`; nil where the folder holds one label a
    /// sample.
    package static func scoreMultiLabel(folder: String, gold path: String) throws(AMAFError) -> [LabelScore]? {
        guard FileManager.default.fileExists(atPath: "\(folder)/\(multiLabelFile)") else { return nil }
        let labels = try classNames(folder)
        guard let data = FileManager.default.contents(atPath: "\(folder)/posteriors.npy"),
            let csv = FileManager.default.contents(atPath: "\(folder)/labels.csv")
        else {
            throw AMAFError(
                "label-model.missing-file", "The folder holds no fitted labels", place: folder, remedy: "Run 'amaf label-model fit' first.")
        }
        let array = try NumPyArray(npy: data, place: "\(folder)/posteriors.npy")
        let items = try CSVText.rows(String(decoding: csv, as: UTF8.self), place: "\(folder)/labels.csv").dropFirst().map { $0.fields[0] }
        guard array.shape == [items.count, labels.count] else {
            throw AMAFError("numpy.unreadable", "The posteriors are of the shape \(array.shape)", place: folder, remedy: "Fit again.")
        }
        let known = try LabelSets.read(path, labels: labels)
        guard items.contains(where: { known.sets[$0] != nil }) else {
            throw AMAFError(
                "label-model.no-gold", "No gold label belongs to a sample of these labels", place: path,
                remedy: "Name samples as in \(folder)/labels.csv.")
        }
        let values = array.floats
        return labels.enumerated().map { label, name in
            var block = PosteriorBlock(firstSample: 0, classCount: 2)
            for row in items.indices {
                let p = values[row * labels.count + label]
                block.append(p.isNaN ? Posterior(classCount: 2, entries: [], isCovered: false, isTied: false) : posterior(p))
            }
            return LabelScore(
                label: name,
                score: LabelModelScore([block], balance: [0.5, 0.5]) { row in known.sets[items[row]].map { $0.contains(label) ? 1 : 0 } })
        }
    }
}

/// Which labels samples truly have: CSV with a header and lines of `item,label`, several for one item, `-` for none. An item that is
/// not named is not known.
struct LabelSets {
    /// By item the places of its labels.
    let sets: [String: Set<Int>]

    static func read(_ path: String, labels: [String]) throws(AMAFError) -> LabelSets {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("label-model.missing-file", "The gold labels cannot be read", place: path, remedy: "Check the path.")
        }
        let places = Dictionary(labels.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        var sets: [String: Set<Int>] = [:]
        for (line, fields) in try CSVText.rows(String(decoding: data, as: UTF8.self), place: path).dropFirst() {
            guard fields.count == 2 else {
                throw AMAFError(
                    "label-model.bad-gold", "A gold line has \(fields.count) fields", place: "\(path):\(line)",
                    remedy: "Write 'item,label', one line for each label of an item, 'item,-' where it has none.")
            }
            // A label that no source names has no model: an item that has it is known all the same.
            sets[fields[0], default: []].formUnion(places[fields[1]].map { [$0] } ?? [])
        }
        return LabelSets(sets: sets)
    }
}
