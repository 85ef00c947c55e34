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

        package init(
            matrix: String, classCount: Int? = nil, validMatrix: String? = nil, validGold: String? = nil, classBalance: ClassBalance? = nil,
            kind: LabelModelKind? = nil, applyTo: String? = nil, output: String
        ) {
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

    /// Writes `model.json`, `posteriors.npy` (samples × classes, float32; rows without votes hold the class balance),
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
        var blocks = trainMatrix.blocks.map { FitBlock($0, classCount: k) }
        var gold: ((Int) -> Int?)?
        if let path = options.validMatrix, let goldPath = options.validGold, var read = valid {
            if read.matrix.classCount != k { read = try ImportedLabelMatrix.read(path, classCount: k) }
            guard read.matrix.functions.count == trainMatrix.functions.count else {
                throw AMAFError(
                    "label-model.other-functions",
                    "The validation votes have \(read.matrix.functions.count) functions, the matrix \(trainMatrix.functions.count)",
                    place: path, remedy: "Apply the same functions to both.")
            }
            let known = try readGold(goldPath, items: read.sampleNames, classNames: read.classNames, count: read.matrix.sampleCount)
            if let bad = known.first(where: { ($0 ?? 0) >= k }) {
                throw AMAFError(
                    "label-model.bad-gold", "The gold label \(bad ?? 0) is not one of \(k) classes", place: goldPath,
                    remedy: "Check --classes.")
            }
            let offset = trainMatrix.sampleCount
            blocks += read.matrix.blocks.map { block in
                var moved = block
                moved.firstSample += offset
                return FitBlock(moved, classCount: k)
            }
            gold = { $0 >= offset && $0 - offset < known.count ? known[$0 - offset] : nil }
        }
        let fit = LabelModelFit(blocks, classCount: k, functions: trainMatrix.functions, gold: gold)
        let read = clock.now
        let model: FittedLabelModel
        var evidence: LabelModelEvidence?
        if let kind = options.kind {
            let balance = options.classBalance ?? (gold == nil ? nil : .gold)
            model = try fit.fit(LabelModelOptions(kind: kind, classBalance: balance))
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
        let posteriors = target.matrix.blocks.map { model.posteriors(of: FitBlock($0, classCount: k), top: k) }
        let predicted = clock.now
        let files = try write(model, evidence, posteriors, names: target, count: target.matrix.sampleCount, to: options.output)
        return FitReport(
            samples: target.matrix.sampleCount, functions: model.functions.count, classCount: k,
            covered: posteriors.reduce(0) { $0 + $1.coveredCount }, kind: model.kind, iterations: model.iterations, evidence: evidence,
            readSeconds: (start.duration(to: read) + fitted.duration(to: reread)).seconds, fitSeconds: read.duration(to: fitted).seconds,
            predictSeconds: reread.duration(to: predicted).seconds, writeSeconds: predicted.duration(to: clock.now).seconds, files: files)
    }

    private static func write(
        _ model: FittedLabelModel, _ evidence: LabelModelEvidence?, _ posteriors: [PosteriorBlock], names: ImportedLabelMatrix, count: Int,
        to folder: String
    ) throws(AMAFError) -> [String] {
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
        var files = ["model.json", "posteriors.npy", "labels.csv"]
        try put(model.encoded(), "model.json")
        let balance = model.classBalance.map { Float($0) }
        var array = try NumPyWriter(
            path: "\(folder)/posteriors.npy", shape: [count, model.classCount], type: "<f4", itemSize: 4, entry: nil)
        var csv = "item,label,confidence,covered,tied\n"
        var next = 0
        for block in posteriors {
            for _ in next..<block.firstSample { try array.append(array: balance) }
            var dense: [Float] = []
            dense.reserveCapacity(block.rowCount * model.classCount)
            for row in 0..<block.rowCount {
                let posterior = block[row]
                dense += posterior.isCovered ? posterior.dense : balance
                let item =
                    names.sampleNames.isEmpty ? "\(block.firstSample + row)" : CSVText.quoted(names.sampleNames[block.firstSample + row])
                let label = posterior.label.map { $0 < names.classNames.count ? CSVText.quoted(names.classNames[$0]) : "\($0)" } ?? ""
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

    /// Scores a folder that `fit` wrote against gold labels.
    package static func score(folder: String, gold path: String, items: [String] = [], classNames: [String] = []) throws(AMAFError)
        -> LabelModelScore
    {
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
        let known = try readGold(
            path, items: items.isEmpty ? rows.map { $0.fields[0] } : items, classNames: classNames, count: array.shape[0])
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

/// `amaf lf apply|list|test|analyze` without the command line.
package enum LabelingFunctionCommand {
    package struct ApplyReport: Hashable, Sendable {
        package var analysis: LFAnalysis
        package var faults: [(function: FunctionID, summary: FaultSummary)]
        package var seconds: Double

        package static func == (a: ApplyReport, b: ApplyReport) -> Bool { a.analysis == b.analysis }
        package func hash(into hasher: inout Hasher) { hasher.combine(analysis) }
    }

    /// Applies functions to texts and writes the matrix by the ending of `output`: `.npz`, `.npy` or `.csv`; nil writes nothing.
    package static func apply(
        _ specs: [LabelingFunctionSpec], classNames: [String], texts: [String?], gold: ((Int) -> Int?)? = nil, output: String? = nil
    ) throws(AMAFError) -> ApplyReport {
        let set = try LabelingFunctionSet(specs: specs, classNames: classNames)
        var matrix = LabelMatrix(classCount: classNames.count, functions: set.ids)
        let clock = ContinuousClock()
        let start = clock.now
        for first in stride(from: 0, to: texts.count, by: 4096) {
            try matrix.insert(set.apply(texts: Array(texts[first..<min(texts.count, first + 4096)]), firstSample: first))
        }
        let seconds = start.duration(to: clock.now).seconds
        if let output {
            if output.hasSuffix(".csv") {
                try matrix.writeCSV(to: output, classNames: classNames)
            } else {
                try matrix.writeNumPy(to: output)
            }
        }
        return ApplyReport(
            analysis: LFAnalysis(LFStatistics(matrix, gold: gold)),
            faults: zip(matrix.functions, matrix.faults).compactMap { id, fault in fault.map { (id, $0) } }, seconds: seconds)
    }

    /// One line a function.
    package static func list(_ specs: [LabelingFunctionSpec]) -> String {
        specs.map { spec in
            let classes = spec.classNames
            let votes = classes.isEmpty ? "any class" : classes.prefix(4).joined(separator: ", ") + (classes.count > 4 ? ", …" : "")
            return "\(spec.name)  \(spec.kindName)  \(spec.digest)  \(votes)"
        }.joined(separator: "\n")
    }

    /// Which of the texts a function votes on, and for what: at most `limit` examples a class.
    package static func test(
        _ spec: LabelingFunctionSpec, classNames: [String], texts: [String?], limit: Int = 5
    ) throws(AMAFError) -> [(row: Int, text: String, className: String)] {
        let set = try LabelingFunctionSet(specs: [spec], classNames: classNames)
        var shown: [Int16: Int] = [:]
        var out: [(row: Int, text: String, className: String)] = []
        for first in stride(from: 0, to: texts.count, by: 4096) {
            let part = Array(texts[first..<min(texts.count, first + 4096)])
            set.apply(texts: part, firstSample: first).columns[0].votes.forEach { row, vote in
                guard shown[vote, default: 0] < limit else { return }
                shown[vote, default: 0] += 1
                out.append((first + row, part[row] ?? "", vote >= 0 ? classNames[Int(vote)] : "fault"))
            }
        }
        return out
    }
}

extension LFAnalysis {
    /// The table for a terminal or a report.
    package func table(classNames: [String]) -> String {
        func percent(_ value: Double) -> String { String(format: "%6.2f", value * 100) }
        var text = "function  polarity  coverage  overlaps  conflicts  correct  incorrect  accuracy (95 % interval)  faults\n"
        for row in rows {
            let polarity =
                row.polarity.count > 3 ? "\(row.polarity.count) classes" : row.polarity.map { classNames[$0] }.joined(separator: "/")
            let accuracy = row.accuracyInterval.map {
                "\(percent(row.empiricalAccuracy)) (\(percent($0.lowerBound))–\(percent($0.upperBound)))"
            }
            text += "\(row.function.name)  \(polarity)  \(percent(row.coverage))  \(percent(row.overlaps))  \(percent(row.conflicts))  "
            text += "\(row.correct)  \(row.incorrect)  \(accuracy ?? "unknown")  \(row.faults)\n"
        }
        return text + "all  coverage \(percent(coverage))  overlap \(percent(overlap))  conflict \(percent(conflict))\n"
    }
}
