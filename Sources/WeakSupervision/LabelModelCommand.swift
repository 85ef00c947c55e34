internal import Foundation
package import Primitives

/// `amaf label-model fit` and `score` without the command line: files in, files out.
package enum LabelModelCommand {
    package struct FitOptions: Hashable, Sendable {
        /// `.npy`, `.npz` in Snorkel's convention or long CSV `item,source,label`.
        package var matrix: String
        package var classCount: Int?
        /// Votes on further samples whose gold is known; used for the class balance, as known labels, and to choose a model.
        package var validMatrix: String?
        package var validGold: String?
        package var classBalance: ClassBalance?
        /// nil is `auto`.
        package var kind: LabelModelKind?
        /// Votes to label with the fitted model; the matrix itself when nil.
        package var applyTo: String?
        package var output: String
        /// Known labels of the matrix's own samples, for a semi-supervised fit.
        package var gold: String?
        package var discountsDependence: Bool
        /// Reviewed labels of the samples that are labelled, which set the confidences; they must not teach the model as well.
        package var calibrationGold: String?
        /// A file of groups of classes that votes may name.
        package var hierarchy: String?

        package init(
            matrix: String, classCount: Int? = nil, validMatrix: String? = nil, validGold: String? = nil, classBalance: ClassBalance? = nil,
            kind: LabelModelKind? = nil, applyTo: String? = nil, output: String, gold: String? = nil,
            discountsDependence: Bool = false, calibrationGold: String? = nil, hierarchy: String? = nil
        ) {
            self.calibrationGold = calibrationGold
            self.hierarchy = hierarchy
            self.discountsDependence = discountsDependence
            self.gold = gold
            self.matrix = matrix
            self.classCount = classCount
            self.validMatrix = validMatrix
            self.validGold = validGold
            self.classBalance = classBalance
            self.kind = kind
            self.applyTo = applyTo
            self.output = output
        }
    }

    package struct FitReport: Hashable, Sendable, Codable {
        package var samples: Int
        package var functions: Int
        package var classCount: Int
        package var covered: Int
        package var kind: LabelModelKind
        package var iterations: Int
        package var evidence: LabelModelEvidence?
        package var readSeconds: Double
        package var fitSeconds: Double
        package var predictSeconds: Double
        package var writeSeconds: Double
        package var files: [String]
        package var calibration: PosteriorCalibration?
    }

    /// Writes `model.json`, `classes.json` (names by number), `posteriors.npy` and `labels.csv` (see `LabelModelFolder.writeLabels`), for `auto`
    /// `evidence.md`, and with reviewed labels `calibration.json`.
    package static func fit(_ options: FitOptions) throws(AMAFError) -> FitReport {
        if let file = options.hierarchy { return try fitHierarchy(options, file: file) }
        let clock = ContinuousClock()
        let start = clock.now
        let train = try ImportedLabelMatrix.read(options.matrix, classCount: options.classCount)
        var k = train.matrix.classCount
        var valid: ImportedLabelMatrix?
        if let path = options.validMatrix {
            let read = try ImportedLabelMatrix.read(path, classCount: options.classCount)
            k = max(k, read.matrix.classCount)
            valid = read
        }
        guard (options.validMatrix == nil) == (options.validGold == nil) else {
            throw AMAFError(
                "label-model.half-validation", "Validation needs both votes and gold", remedy: "Give --valid and --valid-gold together.")
        }
        var trainMatrix = train.matrix
        if trainMatrix.classCount != k { trainMatrix = try ImportedLabelMatrix.read(options.matrix, classCount: k).matrix }
        guard trainMatrix.voteCount > 0 else {
            throw noVotes(trainMatrix.sampleCount, options.matrix)
        }
        // Packing votes for the fit is part of the fit, not of reading.
        let unpacked = clock.now
        var blocks = trainMatrix.blocks.map { FitBlock($0, classCount: k) }
        let packing = unpacked.duration(to: clock.now)
        var gold: ((Int) -> Int?)?
        if let path = options.gold {
            let own = try readGold(path, items: train.sampleNames, classNames: train.classNames, count: trainMatrix.sampleCount)
            try check(own, k, path)
            gold = { $0 < own.count ? own[$0] : nil }
        }
        if let path = options.validMatrix, let goldPath = options.validGold, var read = valid {
            if read.matrix.classCount != k { read = try ImportedLabelMatrix.read(path, classCount: k) }
            guard read.matrix.functions.count == trainMatrix.functions.count else {
                throw AMAFError(
                    "label-model.other-functions",
                    "The validation votes have \(read.matrix.functions.count) functions, the matrix \(trainMatrix.functions.count)",
                    place: path, remedy: "Apply the same functions to both.")
            }
            let known = try readGold(goldPath, items: read.sampleNames, classNames: read.classNames, count: read.matrix.sampleCount)
            try check(known, k, goldPath)
            let own = gold
            let offset = trainMatrix.sampleCount
            blocks += read.matrix.blocks.map { block in
                var moved = block
                moved.firstSample += offset
                return FitBlock(moved, classCount: k)
            }
            gold = { $0 < offset ? own?($0) : $0 - offset < known.count ? known[$0 - offset] : nil }
        }
        let fit = LabelModelFit(blocks, classCount: k, functions: trainMatrix.functions, gold: gold)
        let read = clock.now
        let model: FittedLabelModel
        var evidence: LabelModelEvidence?
        if let kind = options.kind, kind != .auto {
            let balance = options.classBalance ?? (gold == nil ? nil : .gold)
            model = try fit.fit(
                LabelModelOptions(kind: kind, classBalance: balance, discountsDependence: options.discountsDependence))
        } else {
            (model, evidence) = try LabelModelSelection.choose(fit)
        }
        let fitted = clock.now
        let target: ImportedLabelMatrix
        if let path = options.applyTo { target = try ImportedLabelMatrix.read(path, classCount: k) } else { target = train }
        guard target.matrix.functions.count == model.functions.count else {
            throw otherFunctions(target.matrix.functions.count, model.functions.count, options.applyTo ?? options.matrix)
        }
        let reread = clock.now
        let classNames = (0..<k).map { $0 < target.classNames.count ? target.classNames[$0] : "\($0)" }
        func posteriors(_ block: LabelMatrix.Block) -> PosteriorBlock { model.posteriors(of: FitBlock(block, classCount: k), top: k) }
        let calibration = try Self.calibration(
            options.calibrationGold, of: target, classNames: classNames, known: options.applyTo == nil ? gold : nil, posteriors: posteriors)
        var folder = try LabelModelFolder(options.output)
        folder.remove(otherFiles)
        try folder.put(model.encoded(), "model.json")
        try folder.put(json: classNames, "classes.json")
        var predicting = Duration.zero
        var covered = 0
        try folder.writeLabels(
            of: target.matrix, items: target.sampleNames, classNames: classNames, balance: model.classBalance.map { Float($0) }
        ) { block in
            let begin = clock.now
            let posterior = posteriors(block)
            predicting += begin.duration(to: clock.now)
            covered += posterior.coveredCount
            return calibration?.apply(posterior) ?? posterior
        }
        if let evidence { try folder.put(Array(evidence.markdown.utf8), "evidence.md") }
        if let calibration { try folder.put(json: calibration, calibrationFile) }
        return FitReport(
            samples: target.matrix.sampleCount, functions: model.functions.count, classCount: k, covered: covered, kind: model.kind,
            iterations: model.iterations, evidence: evidence,
            readSeconds: (start.duration(to: read) + fitted.duration(to: reread) - packing).seconds,
            fitSeconds: (packing + read.duration(to: fitted)).seconds,
            predictSeconds: predicting.seconds, writeSeconds: (reread.duration(to: clock.now) - predicting).seconds, files: folder.files,
            calibration: calibration)
    }

    static func check(_ gold: [Int?], _ k: Int, _ path: String) throws(AMAFError) {
        guard let bad = gold.first(where: { ($0 ?? 0) >= k }) else { return }
        throw AMAFError(
            "label-model.bad-gold", "The gold label \(bad ?? 0) is not one of \(k) classes", place: path, remedy: "Check --classes.")
    }

    /// Known labels by row: a `.npy` vector, or CSV with one `label` a row or `item,label`; −1 and blank are unknown.
    package static func readGold(_ path: String, items: [String], classNames: [String], count: Int) throws(AMAFError) -> [Int?] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("label-model.missing-file", "The gold labels cannot be read", place: path, remedy: "Check the path.")
        }
        if path.hasSuffix(".npy") {
            let values = try NumPyArray(npy: data, place: path).integers
            guard values.count == count else {
                throw AMAFError(
                    "label-model.bad-gold", "There are \(values.count) gold labels for \(count) samples", place: path,
                    remedy: "Give one a row.")
            }
            return values.map { $0 >= 0 ? Int($0) : nil }
        }
        let classOf = Dictionary(classNames.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        let itemOf = Dictionary(items.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        var out = [Int?](repeating: nil, count: count)
        var next = 0
        for (line, fields) in try CSVText.rows(String(decoding: data, as: UTF8.self), place: path) {
            guard let text = fields.last, fields.count <= 2 else {
                throw AMAFError(
                    "label-model.bad-gold", "A gold line has \(fields.count) fields", place: "\(path):\(line)",
                    remedy: "Write 'item,label' or 'label'.")
            }
            let label = classOf[text] ?? Int(text)
            if label == nil, line == 1 { continue }
            guard let label else {
                throw AMAFError(
                    "label-model.bad-gold", "The gold label '\(text)' is no class", place: "\(path):\(line)",
                    remedy: "Use the votes' labels.")
            }
            let row: Int?
            if fields.count == 2 {
                row = items.isEmpty ? Int(fields[0]) : itemOf[fields[0]]
            } else {
                row = next
                next += 1
            }
            // Gold of items that nobody voted on has no row.
            if let row, row >= 0, row < count { out[row] = label >= 0 ? label : nil }
        }
        return out
    }

    /// What the numbers of a fitted folder's classes are called.
    package static func classNames(_ folder: String) throws(AMAFError) -> [String] {
        guard let data = FileManager.default.contents(atPath: "\(folder)/classes.json"),
            let names = try? JSONDecoder().decode([String].self, from: data)
        else {
            throw AMAFError(
                "label-model.missing-file", "The folder holds no fitted labels", place: folder, remedy: "Run 'amaf label-model fit' first.")
        }
        return names
    }

    /// Why a sample's label is what it is.
    package struct Explanation: Hashable, Sendable, Codable {
        package struct Part: Hashable, Sendable, Codable {
            /// A function, or what the class balance says.
            package var source: String
            package var vote: String?
            /// Positive speaks for `label`, negative for `against`.
            package var logOdds: Double
        }
        package var item: String
        package var label: String
        package var against: String
        package var probability: Double
        package var runnerUpProbability: Double
        /// Sum of all parts: ln p(label)/p(against).
        package var logOdds: Double
        /// Largest first.
        package var parts: [Part]
    }

    /// Takes one sample's posterior apart.
    ///
    /// - Parameters:
    ///   - item: its name in a vote list, or its row number.
    ///   - classes: the two to compare; by default the likeliest and the next.
    package static func explain(
        folder: String, matrix path: String, item: String, classes: (String, String)? = nil
    ) throws(AMAFError) -> Explanation {
        if let bytes = FileManager.default.contents(atPath: "\(folder)/\(hierarchicalFile)") {
            return try explainHierarchy([UInt8](bytes), folder: folder, matrix: path, item: item, classes: classes)
        }
        guard let bytes = FileManager.default.contents(atPath: "\(folder)/model.json") else {
            throw AMAFError(
                "label-model.missing-file", "The folder holds no fitted labels", place: folder, remedy: "Run 'amaf label-model fit' first.")
        }
        let model = try FittedLabelModel(decoding: [UInt8](bytes), place: "\(folder)/model.json")
        let names = try classNames(folder)
        let votes = try ImportedLabelMatrix.read(path, classCount: model.classCount)
        guard votes.matrix.functions.count == model.functions.count else {
            throw AMAFError(
                "label-model.other-functions",
                "The votes have \(votes.matrix.functions.count) functions, the model \(model.functions.count)", place: path,
                remedy: "Apply the same functions to both.")
        }
        let row = votes.sampleNames.isEmpty ? Int(item) : votes.sampleNames.firstIndex(of: item)
        guard let row, let block = votes.matrix.blocks.first(where: { $0.samples.contains(row) }) else {
            throw unknownItem(item, votes, path)
        }
        let rows = VoteRows(block, classCount: model.classCount)
        let posterior = model.posteriors(of: rows, top: model.classCount)[row - block.firstSample]
        guard posterior.isCovered else {
            throw uncovered(item, path)
        }
        var pair = (posterior.entries[0].classIndex, posterior.entries.count > 1 ? posterior.entries[1].classIndex : 0)
        if let classes { pair = try places(of: classes, in: names, folder) }
        let parts = model.contributions(of: rows.votes(row: row - block.firstSample), for: pair.0, against: pair.1).map { part in
            switch part.source {
            case .classBalance: Explanation.Part(source: "class balance", vote: nil, logOdds: part.logOdds)
            case .vote(let vote):
                Explanation.Part(
                    source: votes.matrix.functions[vote.function].name, vote: names[vote.classIndex], logOdds: part.logOdds)
            case .abstain(let function):
                Explanation.Part(source: votes.matrix.functions[function].name, vote: "silent", logOdds: part.logOdds)
            }
        }
        return Explanation(
            item: item, label: names[pair.0], against: names[pair.1], probability: Double(posterior.probability(of: pair.0)),
            runnerUpProbability: Double(posterior.probability(of: pair.1)), logOdds: parts.reduce(0) { $0 + $1.logOdds },
            parts: parts.sorted { (-abs($0.logOdds), $0.source) < (-abs($1.logOdds), $1.source) })
    }

    /// Scores a folder that `fit` wrote against gold labels.
    package static func score(folder: String, gold path: String) throws(AMAFError) -> LabelModelScore {
        guard let data = FileManager.default.contents(atPath: "\(folder)/posteriors.npy"),
            let labels = FileManager.default.contents(atPath: "\(folder)/labels.csv")
        else {
            throw AMAFError(
                "label-model.missing-file", "The folder holds no fitted labels", place: folder, remedy: "Run 'amaf label-model fit' first.")
        }
        let names = try classNames(folder)
        // A hierarchical model has an even balance.
        let balance =
            try FileManager.default.contents(atPath: "\(folder)/model.json").map { (bytes) throws(AMAFError) in
                try FittedLabelModel(decoding: [UInt8](bytes), place: "\(folder)/model.json").classBalance
            } ?? names.map { _ in 1 / Double(names.count) }
        let array = try NumPyArray(npy: data, place: "\(folder)/posteriors.npy")
        guard array.shape.count == 2, array.shape[1] == names.count else {
            throw AMAFError("numpy.unreadable", "The posteriors are of the shape \(array.shape)", place: folder, remedy: "Fit again.")
        }
        let rows = try CSVText.rows(String(decoding: labels, as: UTF8.self), place: "\(folder)/labels.csv").dropFirst()
        let covered = rows.map { $0.fields.count > 3 && $0.fields[3] == "1" }
        let known = try readGold(path, items: rows.map { $0.fields[0] }, classNames: names, count: array.shape[0])
        try check(known, names.count, path)
        guard known.contains(where: { $0 != nil }) else {
            throw AMAFError(
                "label-model.no-gold", "No gold label belongs to a sample of these labels", place: path,
                remedy: "Name samples as in \(folder)/labels.csv, or give one label a row.")
        }
        let values = array.floats
        let k = names.count
        var block = PosteriorBlock(firstSample: 0, classCount: k)
        for row in 0..<array.shape[0] {
            let entries = (0..<k).map { Posterior.Entry(classIndex: $0, probability: values[row * k + $0]) }
                .sorted { ($1.probability, $0.classIndex) < ($0.probability, $1.classIndex) }
            block.append(Posterior(classCount: k, entries: entries, isCovered: row < covered.count && covered[row], isTied: false))
        }
        return LabelModelScore([block], balance: balance) { known[$0] }
    }
}
