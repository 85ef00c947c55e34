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

        package init(
            matrix: String, classCount: Int? = nil, validMatrix: String? = nil, validGold: String? = nil, classBalance: ClassBalance? = nil,
            kind: LabelModelKind? = nil, applyTo: String? = nil, output: String, gold: String? = nil,
            discountsDependence: Bool = false
        ) {
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
    }

    /// Writes `model.json`, `classes.json` (names by number), `posteriors.npy` (samples × classes, float32; rows without votes hold the class balance),
    /// `labels.csv` (item, label, confidence, covered, tied; no label where there is no vote or a tie) and, for `auto`,
    /// `evidence.md`.
    package static func fit(_ options: FitOptions) throws(AMAFError) -> FitReport {
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
            throw AMAFError(
                "label-model.no-votes", "No function votes on any of the \(trainMatrix.sampleCount) samples", place: options.matrix,
                remedy: "Check that -1 is the abstention and that lines of a vote list follow a header.")
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
            throw AMAFError(
                "label-model.other-functions",
                "The votes to label have \(target.matrix.functions.count) functions, the model \(model.functions.count)",
                place: options.applyTo ?? options.matrix, remedy: "Apply the same functions to both.")
        }
        let reread = clock.now
        var predicting = Duration.zero
        var covered = 0
        // Block by block: posteriors of many classes are never all in memory.
        let files = try write(model, evidence, names: target, to: options.output) { block in
            let begin = clock.now
            let posterior = model.posteriors(of: FitBlock(block, classCount: k), top: k)
            predicting += begin.duration(to: clock.now)
            covered += posterior.coveredCount
            return posterior
        }
        return FitReport(
            samples: target.matrix.sampleCount, functions: model.functions.count, classCount: k, covered: covered, kind: model.kind,
            iterations: model.iterations, evidence: evidence,
            readSeconds: (start.duration(to: read) + fitted.duration(to: reread) - packing).seconds,
            fitSeconds: (packing + read.duration(to: fitted)).seconds,
            predictSeconds: predicting.seconds, writeSeconds: (reread.duration(to: clock.now) - predicting).seconds, files: files)
    }

    private static func check(_ gold: [Int?], _ k: Int, _ path: String) throws(AMAFError) {
        guard let bad = gold.first(where: { ($0 ?? 0) >= k }) else { return }
        throw AMAFError(
            "label-model.bad-gold", "The gold label \(bad ?? 0) is not one of \(k) classes", place: path, remedy: "Check --classes.")
    }

    private static func write(
        _ model: FittedLabelModel, _ evidence: LabelModelEvidence?, names: ImportedLabelMatrix, to folder: String,
        posterior: (LabelMatrix.Block) -> PosteriorBlock
    ) throws(AMAFError) -> [String] {
        let count = names.matrix.sampleCount
        func failed(_ path: String, _ error: any Error) -> AMAFError {
            AMAFError(
                "label-model.unwritable", "The file cannot be written: \(error.localizedDescription)", place: path,
                remedy: "Check the folder.")
        }
        func put(_ bytes: [UInt8], _ name: String) throws(AMAFError) {
            do { try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(name)")) } catch { throw failed("\(folder)/\(name)", error) }
        }
        do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
            throw failed(folder, error)
        }
        var files = ["model.json", "classes.json", "posteriors.npy", "labels.csv"]
        try put(model.encoded(), "model.json")
        let classNames = (0..<model.classCount).map { $0 < names.classNames.count ? names.classNames[$0] : "\($0)" }
        guard let json = try? JSONEncoder().encode(classNames) else { preconditionFailure("names did not become JSON") }
        try put([UInt8](json), "classes.json")
        let balance = model.classBalance.map { Float($0) }
        var array = try NumPyWriter(
            path: "\(folder)/posteriors.npy", shape: [count, model.classCount], type: "<f4", itemSize: 4, entry: nil)
        var csv = "item,label,confidence,covered,tied\n"
        var next = 0
        for votes in names.matrix.blocks {
            let block = posterior(votes)
            for _ in next..<block.firstSample { try array.append(array: balance) }
            var dense: [Float] = []
            dense.reserveCapacity(block.rowCount * model.classCount)
            for row in 0..<block.rowCount {
                let posterior = block[row]
                dense += posterior.isCovered ? posterior.dense : balance
                let item =
                    names.sampleNames.isEmpty ? "\(block.firstSample + row)" : CSVText.quoted(names.sampleNames[block.firstSample + row])
                let label = posterior.label.map { CSVText.quoted(classNames[$0]) } ?? ""
                csv +=
                    "\(item),\(label),\(posterior.entries.first?.probability ?? 0),\(posterior.isCovered ? 1 : 0),\(posterior.isTied ? 1 : 0)\n"
            }
            try array.append(array: dense)
            next = block.samples.upperBound
        }
        try array.finish()
        try put(Array(csv.utf8), "labels.csv")
        if let evidence {
            try put(Array(evidence.markdown.utf8), "evidence.md")
            files.append("evidence.md")
        }
        return files
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
            throw AMAFError(
                "label-model.unknown-item", "There is no sample '\(item)' among \(votes.matrix.sampleCount)", place: path,
                remedy: votes.sampleNames.isEmpty ? "Give a row number, counted from 0." : "Give a name as in the vote list.")
        }
        let rows = VoteRows(block, classCount: model.classCount)
        let posterior = model.posteriors(of: rows, top: model.classCount)[row - block.firstSample]
        guard posterior.isCovered else {
            throw AMAFError(
                "label-model.uncovered", "No function votes on '\(item)', so there is nothing to explain", place: path,
                remedy: "Ask for a covered sample; labels.csv says which are.")
        }
        var pair = (posterior.entries[0].classIndex, posterior.entries.count > 1 ? posterior.entries[1].classIndex : 0)
        if let classes {
            guard let first = names.firstIndex(of: classes.0), let second = names.firstIndex(of: classes.1) else {
                throw AMAFError(
                    "label-model.unknown-class", "'\(classes.0)' and '\(classes.1)' are not both classes", place: folder,
                    remedy: "The classes are \(names.prefix(12).joined(separator: ", ")).")
            }
            pair = (first, second)
        }
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
        guard let modelBytes = FileManager.default.contents(atPath: "\(folder)/model.json"),
            let data = FileManager.default.contents(atPath: "\(folder)/posteriors.npy"),
            let labels = FileManager.default.contents(atPath: "\(folder)/labels.csv")
        else {
            throw AMAFError(
                "label-model.missing-file", "The folder holds no fitted labels", place: folder, remedy: "Run 'amaf label-model fit' first.")
        }
        let model = try FittedLabelModel(decoding: [UInt8](modelBytes), place: "\(folder)/model.json")
        let array = try NumPyArray(npy: data, place: "\(folder)/posteriors.npy")
        guard array.shape.count == 2, array.shape[1] == model.classCount else {
            throw AMAFError("numpy.unreadable", "The posteriors are of the shape \(array.shape)", place: folder, remedy: "Fit again.")
        }
        let rows = try CSVText.rows(String(decoding: labels, as: UTF8.self), place: "\(folder)/labels.csv").dropFirst()
        let covered = rows.map { $0.fields.count > 3 && $0.fields[3] == "1" }
        let known = try readGold(path, items: rows.map { $0.fields[0] }, classNames: try classNames(folder), count: array.shape[0])
        try check(known, model.classCount, path)
        guard known.contains(where: { $0 != nil }) else {
            throw AMAFError(
                "label-model.no-gold", "No gold label belongs to a sample of these labels", place: path,
                remedy: "Name samples as in \(folder)/labels.csv, or give one label a row.")
        }
        let values = array.floats
        let k = model.classCount
        var block = PosteriorBlock(firstSample: 0, classCount: k)
        for row in 0..<array.shape[0] {
            let entries = (0..<k).map { Posterior.Entry(classIndex: $0, probability: values[row * k + $0]) }
                .sorted { ($1.probability, $0.classIndex) < ($0.probability, $1.classIndex) }
            block.append(Posterior(classCount: k, entries: entries, isCovered: row < covered.count && covered[row], isTied: false))
        }
        return LabelModelScore([block], balance: model.classBalance) { known[$0] }
    }
}
