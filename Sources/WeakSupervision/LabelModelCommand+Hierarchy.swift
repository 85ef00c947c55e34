internal import Foundation
package import Primitives

extension ClassHierarchy {
    /// Groups out of a file: CSV with a header and lines of `group,class`, or JSON `{"group": ["class", …]}`.
    ///
    /// Classes and groups are in the order of label matrices: by value where all are whole numbers, by UTF-8 bytes otherwise; groups follow
    /// classes.
    package static func read(_ path: String) throws(AMAFError) -> ClassHierarchy {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("hierarchy.missing-file", "The hierarchy cannot be read", place: path, remedy: "Check the path.")
        }
        var members: [String: [String]] = [:]
        if path.hasSuffix(".json") {
            do { members = try JSONDecoder().decode([String: [String]].self, from: data) } catch {
                throw AMAFError(
                    "hierarchy.bad-json", "The hierarchy is no JSON object of lists: \(error.localizedDescription)", place: path,
                    remedy: "Write {\"group\": [\"class\", …], …}.")
            }
        } else {
            for (line, fields) in try CSVText.rows(String(decoding: data, as: UTF8.self), place: path).dropFirst() {
                guard fields.count == 2 else {
                    throw AMAFError(
                        "hierarchy.bad-row", "A line has \(fields.count) fields where group and class are needed", place: "\(path):\(line)",
                        remedy: "Write 'group,class', one line for each class.")
                }
                members[fields[0], default: []].append(fields[1])
            }
        }
        let groups = sortedByValue(Array(members.keys)).map { (name: $0, classes: members[$0] ?? []) }
        do {
            return try ClassHierarchy(groups, classNames: sortedByValue(Array(Set(groups.flatMap(\.classes)))))
        } catch {
            throw AMAFError(error.code, error.message, place: path, remedy: error.remedy)
        }
    }

    private static func sortedByValue(_ names: [String]) -> [String] {
        let numbers = names.compactMap { Int($0) }
        return numbers.count == names.count
            ? names.sorted { (Int($0) ?? 0) < (Int($1) ?? 0) } : names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
}

extension ImportedLabelMatrix {
    /// The same votes with classes numbered as in `names`, by name; a matrix without names (`.npy`) keeps its numbers.
    func relabelled(to names: [String], hasNames: Bool, place: String) throws(AMAFError) -> ImportedLabelMatrix {
        let places = Dictionary(names.enumerated().map { ($1, Int16($0)) }, uniquingKeysWith: { first, _ in first })
        let map = classNames.indices.map { hasNames ? places[classNames[$0]] : $0 < names.count ? Int16($0) : nil }
        var out = LabelMatrix(classCount: names.count, functions: matrix.functions)
        for block in matrix.blocks {
            var columns: [VoteColumn] = []
            for (function, column) in zip(matrix.functions, block.columns) {
                guard let column else { continue }
                var cells = column.votes.cells
                for i in cells.indices where cells[i] >= 0 {
                    guard let vote = map[Int(cells[i])] else {
                        throw AMAFError(
                            "hierarchy.unknown-class",
                            "'\(function.name)' votes for '\(classNames[Int(cells[i])])', which is neither a class nor a group",
                            place: place,
                            remedy: "Name it in the hierarchy, or correct the vote.")
                    }
                    cells[i] = vote
                }
                columns.append(VoteColumn(function: function, votes: PackedVotes(cells: cells)))
            }
            try out.insert(VoteBlock(firstSample: block.firstSample, rowCount: block.rowCount, classCount: names.count, columns: columns))
        }
        return ImportedLabelMatrix(matrix: out, sampleNames: sampleNames, classNames: names)
    }

    /// Votes among the classes and groups of a hierarchy.
    static func read(_ path: String, hierarchy: ClassHierarchy) throws(AMAFError) -> ImportedLabelMatrix {
        let isArray = path.hasSuffix(".npy") || path.hasSuffix(".npz")
        let hasNames = try isArray ? LabelMatrixNames.read(besides: path) != nil : true
        return try read(path).relabelled(to: hierarchy.votableNames, hasNames: hasNames, place: path)
    }
}

extension LabelModelCommand {
    static let hierarchicalFile = "hierarchical-model.json"

    /// `fit --hierarchy`: votes may name groups of classes. The folder is that of `fit`, with `hierarchical-model.json` in place of
    /// `model.json` and the likeliest group with its probability in labels.csv.
    static func fitHierarchy(_ options: FitOptions, file: String) throws(AMAFError) -> FitReport {
        guard options.gold == nil, options.validMatrix == nil, options.validGold == nil, options.classBalance == nil,
            options.kind == nil || options.kind == .auto || options.kind == .logLinear, !options.discountsDependence,
            options.classCount == nil
        else {
            throw AMAFError(
                "label-model.hierarchy-options", "A hierarchy is fitted by the log-linear model without gold",
                remedy: "Leave out the options on models, gold, balance and classes; --apply and --calibrate-with go with it.")
        }
        let clock = ContinuousClock()
        let start = clock.now
        let hierarchy = try ClassHierarchy.read(file)
        let train = try ImportedLabelMatrix.read(options.matrix, hierarchy: hierarchy)
        guard train.matrix.voteCount > 0 else { throw noVotes(train.matrix.sampleCount, options.matrix) }
        let target =
            try options.applyTo.map { (path) throws(AMAFError) in try ImportedLabelMatrix.read(path, hierarchy: hierarchy) } ?? train
        guard target.matrix.functions.count == train.matrix.functions.count else {
            throw otherFunctions(target.matrix.functions.count, train.matrix.functions.count, options.applyTo ?? options.matrix)
        }
        let read = clock.now
        let model = HierarchicalLabelModel(train.matrix, hierarchy: hierarchy)
        let fitted = clock.now
        let k = hierarchy.classNames.count
        let votable = hierarchy.votableNames.count
        func posteriors(_ block: LabelMatrix.Block) -> PosteriorBlock {
            model.posteriors(of: VoteRows(block, classCount: votable), top: k)
        }
        let calibration = try Self.calibration(
            options.calibrationGold, of: target, classNames: hierarchy.classNames, known: nil, posteriors: posteriors)
        var folder = try LabelModelFolder(options.output)
        folder.remove(otherFiles)
        try folder.put(json: model, hierarchicalFile)
        try folder.put(json: hierarchy.classNames, "classes.json")
        var covered = 0
        let more = LabelModelFolder.MoreColumns(header: ["group", "group confidence"]) { posterior in
            guard posterior.isCovered else { return ["", "0"] }
            let groups = hierarchy.groups(of: posterior)
            let best = groups.indices.max { (groups[$0], $1) < (groups[$1], $0) } ?? 0
            return [hierarchy.groupNames[best], "\(groups[best])"]
        }
        try folder.writeLabels(
            of: target.matrix, items: target.sampleNames, classNames: hierarchy.classNames,
            balance: [Float](repeating: 1 / Float(k), count: k), more: more
        ) { block in
            let posterior = posteriors(block)
            covered += posterior.coveredCount
            return calibration?.apply(posterior) ?? posterior
        }
        if let calibration { try folder.put(json: calibration, calibrationFile) }
        return FitReport(
            samples: target.matrix.sampleCount, functions: model.functions.count, classCount: k, covered: covered, kind: .logLinear,
            iterations: model.iterations, evidence: nil, readSeconds: start.duration(to: read).seconds,
            fitSeconds: read.duration(to: fitted).seconds, predictSeconds: 0, writeSeconds: fitted.duration(to: clock.now).seconds,
            files: folder.files, calibration: calibration)
    }

    /// `explain` for a folder that `fit --hierarchy` wrote.
    static func explainHierarchy(
        _ bytes: [UInt8], folder: String, matrix path: String, item: String, classes: (String, String)?
    ) throws(AMAFError) -> Explanation {
        guard let model = try? JSONDecoder().decode(HierarchicalLabelModel.self, from: Data(bytes)) else {
            throw AMAFError(
                "label-model.unreadable", "The hierarchical model cannot be read", place: "\(folder)/\(hierarchicalFile)",
                remedy: "Fit again.")
        }
        let names = model.hierarchy.classNames
        let votes = try ImportedLabelMatrix.read(path, hierarchy: model.hierarchy)
        let row = votes.sampleNames.isEmpty ? Int(item) : votes.sampleNames.firstIndex(of: item)
        guard let row, let block = votes.matrix.blocks.first(where: { $0.samples.contains(row) }) else {
            throw unknownItem(item, votes, path)
        }
        let rows = VoteRows(block, classCount: model.hierarchy.votableNames.count)
        let posterior = model.posteriors(of: rows, top: names.count)[row - block.firstSample]
        guard posterior.isCovered else { throw uncovered(item, path) }
        var pair = (posterior.entries[0].classIndex, posterior.entries[1].classIndex)
        if let classes { pair = try places(of: classes, in: names, folder) }
        let parts = model.contributions(of: rows.votes(row: row - block.firstSample), for: pair.0, against: pair.1).compactMap {
            part -> Explanation.Part? in
            guard case .vote(let vote) = part.source else { return nil }
            return Explanation.Part(
                source: model.functions[vote.function].name, vote: model.hierarchy.votableNames[vote.classIndex], logOdds: part.logOdds)
        }
        return Explanation(
            item: item, label: names[pair.0], against: names[pair.1], probability: Double(posterior.probability(of: pair.0)),
            runnerUpProbability: Double(posterior.probability(of: pair.1)), logOdds: parts.reduce(0) { $0 + $1.logOdds },
            parts: parts.sorted { (-abs($0.logOdds), $0.source) < (-abs($1.logOdds), $1.source) })
    }
}
