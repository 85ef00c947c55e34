package import Augmentation
import Datasets
import Evaluation
import Kernels
package import Models
import Primitives

/// Labelled texts in three parts, as an artifact.
package struct ParaphraseTexts: Codable, Hashable, Sendable {
    package struct Part: Codable, Hashable, Sendable {
        package var texts: [String]
        package var labels: [Int]
        package init(texts: [String] = [], labels: [Int] = []) {
            self.texts = texts
            self.labels = labels
        }
    }
    package var classNames: [String]
    package var train: Part
    /// Decides; the test part only reports.
    package var validation: Part
    package var test: Part
    /// Candidates that a language model wrote: parent (of `train`) and text. Without any the thesaurus writes.
    package var written: [Written]

    package struct Written: Codable, Hashable, Sendable {
        package var parent: Int
        package var text: String
        package init(parent: Int, text: String) {
            self.parent = parent
            self.text = text
        }
    }

    package init(classNames: [String], train: Part, validation: Part, test: Part, written: [Written] = []) {
        self.classNames = classNames
        self.train = train
        self.validation = validation
        self.test = test
        self.written = written
    }
}

package struct ParaphraseParameters: Codable, Hashable, Sendable {
    package var features: TextFeaturesConfiguration
    package var l2: Float
    package var epochs: Int
    /// Paraphrases asked for.
    package var count: Int
    package var share: Double
    package var filter: ParaphraseFilter
    package var seeds: [UInt64]
    /// Training texts of each class: 0 for all.
    package var shots: [Int]

    package init(
        features: TextFeaturesConfiguration = TextFeaturesConfiguration(), l2: Float = 0.05, epochs: Int = 6, count: Int = 10_000,
        share: Double = 0.2, filter: ParaphraseFilter = ParaphraseFilter(), seeds: [UInt64], shots: [Int] = [0, 10]
    ) {
        self.features = features
        self.l2 = l2
        self.epochs = epochs
        self.count = count
        self.share = share
        self.filter = filter
        self.seeds = seeds
        self.shots = shots
    }
}

/// What paraphrases did with one seed and one size of training set.
package struct ParaphraseTrial: Codable, Hashable, Sendable {
    package var shots: Int
    package var trainingTexts: Int
    package var made: Int
    package var kept: Int
    package var verdicts: [String: Int]
    package var validation: Double
    package var validationWith: Double
    package var test: Double
    package var testWith: Double
    package var examples: [[String]]
}

/// The same over seeds, with a verdict from the validation part.
package struct ParaphraseAudit: Codable, Hashable, Sendable {
    package struct Row: Codable, Hashable, Sendable {
        package var shots: Int
        package var trainingTexts: Int
        package var made: Double
        package var kept: Double
        package var validation: GapComparison
        package var test: GapComparison
        /// Significantly better on the validation part; else the paraphrases are not learned from.
        package var isAdmitted: Bool
        package var reason: String
    }
    package var rows: [Row]
    package var verdicts: [String: Int]
    package var examples: [[String]]
}

/// `audit-paraphrases`: a block is a seed: paraphrases of the training texts, filtered, and the classifier with and without.
///
/// - Inputs: `texts` (JSON, `ParaphraseTexts`), `thesaurus` (JSON, words with their synonyms).
/// - Outputs: `trials` (JSON), `paraphrases.tsv` (parent, label, text; of the largest training set).
package struct AuditParaphrasesStage: StageExecutor {
    package static let kind = "audit-paraphrases"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: ParaphraseParameters.self)
        let texts = try CanonicalJSON.decode(ParaphraseTexts.self, from: try task.inputs.single("texts").bytes, what: "set of texts")
        let synonyms = try CanonicalJSON.decode([String: [String]].self, from: try task.inputs.single("thesaurus").bytes, what: "thesaurus")
        for block in task.blocks {
            let seed = parameters.seeds[block]
            var (trials, table): ([ParaphraseTrial], String) = ([], "parent\tlabel\ttext\n")
            for (number, shots) in parameters.shots.enumerated() {
                try task.checkCancellation()
                let trial = try TextTrial(parameters, texts, shots: shots, seed: seed)
                let (result, kept) = try trial.run(Thesaurus(synonyms: synonyms))
                trials.append(result)
                if number == 0 {
                    for one in kept { table += "\(one.parent)\t\(texts.classNames[texts.train.labels[one.parent]])\t\(one.text)\n" }
                }
            }
            try task.emit(
                block: block,
                [StageOutput("trials", Array(CanonicalJSON.encode(trials).utf8)), StageOutput("paraphrases.tsv", Array(table.utf8))],
                metrics: ["rows": Double(trials.reduce(0) { $0 + $1.made })])
        }
    }
}

/// `compare-paraphrases`: the trials over all seeds.
///
/// - Inputs: `trials` (all blocks). Outputs: `audit` (JSON, `ParaphraseAudit`).
package struct CompareParaphrasesStage: StageExecutor {
    package static let kind = "compare-paraphrases"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let seeds = try task.parameters(as: ParaphraseParameters.self).seeds
        var runs: [[ParaphraseTrial]] = []
        try task.inputs.forEach("trials") { _, artifact in
            runs.append(try CanonicalJSON.decode([ParaphraseTrial].self, from: artifact.bytes, what: "paraphrase trial"))
        }
        guard let first = runs.first, runs.count >= 2 else {
            throw AMAFError("augmentation.audit", "\(runs.count) seeds are no comparison", remedy: "Give two seeds or more.")
        }
        var verdicts: [String: Int] = [:]
        for trial in runs.flatMap({ $0 }) { for (name, count) in trial.verdicts { verdicts[name, default: 0] += count } }
        let rows = first.indices.map { at in
            let trials = runs.map { $0[at] }
            func mean(_ value: (ParaphraseTrial) -> Double) -> Double { trials.reduce(0) { $0 + value($1) } / Double(trials.count) }
            let validation = GapComparison(baseline: trials.map(\.validation), treated: trials.map(\.validationWith), seed: seeds[0])
            let gain = mean(\.validationWith) - mean(\.validation)
            let isBetter = gain > 0 && validation.p < 0.05
            let change =
                "validation accuracy changes by \((gain * 10000).rounded() / 100) points, p \((validation.p * 10000).rounded() / 10000)"
            return ParaphraseAudit.Row(
                shots: trials[0].shots, trainingTexts: trials[0].trainingTexts, made: mean { Double($0.made) },
                kept: mean { Double($0.kept) }, validation: validation,
                test: GapComparison(baseline: trials.map(\.test), treated: trials.map(\.testWith), seed: seeds[0]), isAdmitted: isBetter,
                reason: isBetter ? change : "refused: \(change); without evidence of a gain nothing is learned from them")
        }
        let audit = ParaphraseAudit(rows: rows, verdicts: verdicts, examples: Array(runs[0].flatMap(\.examples).prefix(12)))
        try task.emit(block: 0, [StageOutput("audit", Array(CanonicalJSON.encode(audit).utf8))], metrics: ["rows": Double(runs.count)])
    }
}

/// One seed, one size of training set.
private struct TextTrial {
    let parameters: ParaphraseParameters
    let texts: ParaphraseTexts
    let seed: UInt64
    let shots: Int
    /// Of the training part, ascending.
    let chosen: [Int]

    init(_ parameters: ParaphraseParameters, _ texts: ParaphraseTexts, shots: Int, seed: UInt64) throws {
        self.parameters = parameters
        self.texts = texts
        self.seed = seed
        self.shots = shots
        let labels = texts.train.labels
        guard shots > 0 else {
            chosen = Array(labels.indices)
            return
        }
        var order = Array(labels.indices)
        var generator = SeededGenerator(seed: seed, stream: "paraphrase", "shots")
        generator.shuffle(&order)
        var counts = [Int](repeating: 0, count: texts.classNames.count)
        chosen = order.filter { index in
            counts[labels[index]] += 1
            return counts[labels[index]] <= shots
        }.sorted()
    }

    func run(_ thesaurus: Thesaurus) throws -> (ParaphraseTrial, kept: [ParaphraseTexts.Written]) {
        let base = chosen.map { texts.train.texts[$0] }
        let labels = chosen.map { texts.train.labels[$0] }
        var featurizer = try TextFeaturizer(parameters.features)
        let idf = InverseDocumentFrequency(DocumentFrequency(of: featurizer.block(base, firstPosition: 0)))
        let features = featurizer.matrix(base, idf: idf)
        let plain = train(features, labels)
        // The parent's class by the classifier of real texts; a text that it knows by heart is judged by what it became.
        var pass = ParaphraseFilter.Pass(parameters.filter, known: base)
        var (kept, verdicts, examples, made): ([ParaphraseTexts.Written], [String: Int], [[String]], Int) = ([], [:], [], 0)
        func judge(_ candidates: [(row: Int, text: String)]) {
            let matrix = featurizer.matrix(candidates.map(\.text), idf: idf)
            let summaries = plain.summaries(matrix)
            for (i, candidate) in candidates.enumerated() where kept.count < parameters.count {
                made += 1
                let parent = chosen[candidate.row]
                let verdict = pass.judge(
                    candidate.text, parent: parent, parentText: base[candidate.row],
                    similarity: Self.cosine(matrix, i, features, candidate.row), confidence: Double(summaries[i].topProbability),
                    agrees: Int(summaries[i].top) == labels[candidate.row])
                verdicts[verdict.rawValue, default: 0] += 1
                if verdict == .kept {
                    kept.append(.init(parent: parent, text: candidate.text))
                    if examples.count < 12 && made % 97 < 8 { examples.append([base[candidate.row], candidate.text]) }
                }
            }
        }
        if !texts.written.isEmpty {
            var rowOf: [Int: Int] = [:]
            for (row, parent) in chosen.enumerated() { rowOf[parent] = row }
            judge(texts.written.compactMap { one in rowOf[one.parent].map { ($0, one.text) } })
        } else {
            let paraphraser = ThesaurusParaphraser(thesaurus, share: parameters.share)
            for turn in 0..<8 where kept.count < parameters.count {
                var order = Array(base.indices)
                var generator = SeededGenerator(seed: seed, stream: "paraphrase", String(shots), String(turn))
                generator.shuffle(&order)
                for start in stride(from: 0, to: order.count, by: 1024) where kept.count < parameters.count {
                    judge(
                        order[start..<min(order.count, start + 1024)].compactMap { row in
                            paraphraser.paraphrase(base[row], generator: &generator).map { (row, $0) }
                        })
                }
            }
        }
        let more = kept.map(\.text)
        let all = base + more
        let idfWith = InverseDocumentFrequency(DocumentFrequency(of: featurizer.block(all, firstPosition: 0)))
        let with = train(featurizer.matrix(all, idf: idfWith), labels + kept.map { texts.train.labels[$0.parent] })
        func accuracy(_ model: SoftmaxRegression, _ part: ParaphraseTexts.Part, _ idf: InverseDocumentFrequency) -> Double {
            let found = model.summaries(featurizer.matrix(part.texts, idf: idf))
            return Double(zip(found, part.labels).count { Int($0.top) == $1 }) / Double(max(part.labels.count, 1))
        }
        let trial = ParaphraseTrial(
            shots: shots, trainingTexts: base.count, made: made, kept: kept.count, verdicts: verdicts,
            validation: accuracy(plain, texts.validation, idf), validationWith: accuracy(with, texts.validation, idfWith),
            test: accuracy(plain, texts.test, idf), testWith: accuracy(with, texts.test, idfWith), examples: examples)
        return (trial, kept)
    }

    private func train(_ features: SparseMatrix, _ labels: [Int]) -> SoftmaxRegression {
        SoftmaxRegression.train(
            SoftmaxRegression.Examples(features: features, positions: Array(labels.indices), targets: .classes(labels)),
            configuration: .init(classes: texts.classNames.count, l2: parameters.l2, epochs: parameters.epochs), seed: seed
        ).model
    }

    /// Rows have length 1.
    private static func cosine(_ a: SparseMatrix, _ i: Int, _ b: SparseMatrix, _ j: Int) -> Double {
        var weights: [Int32: Float] = [:]
        for entry in b.entries(ofRow: j) { weights[b.columnIndices[entry]] = b.values[entry] }
        return a.entries(ofRow: i).reduce(0) { $0 + Double(a.values[$1] * (weights[a.columnIndices[$1]] ?? 0)) }
    }
}
