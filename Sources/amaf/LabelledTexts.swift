import Augmentation
import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Stages

/// Texts for paraphrasing, and who may paraphrase them.
enum LabelledTexts {
    /// CLINC150's form; classes are those of the training part, by name.
    static func read(_ path: String) throws -> ParaphraseTexts {
        let bytes =
            try Gzip.isCompressed(path)
            ? try Gzip.decompressed(path, limit: 1 << 30) : [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        let parts: [String: [[String]]]
        do {
            parts = try JSONDecoder().decode([String: [[String]]].self, from: Data(bytes))
        } catch {
            throw AMAFError(
                "cli.texts", "The file is not {\"train\": [[text, class], …], …}: \(error)", place: path,
                remedy: "See `amaf augment texts --help`.")
        }
        let names = Array(Set((parts["train"] ?? []).compactMap { $0.count == 2 ? $0[1] : nil })).sorted()
        guard names.count >= 2 else {
            throw AMAFError(
                "cli.texts", "The training part names \(names.count) classes", place: path, remedy: "Give texts of at least two classes.")
        }
        let numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
        func part(_ name: String) throws -> ParaphraseTexts.Part {
            var out = ParaphraseTexts.Part()
            for (i, row) in (parts[name] ?? []).enumerated() {
                guard row.count == 2, let label = numbers[row[1]] else {
                    throw AMAFError(
                        "cli.texts", "Row \(i + 1) of '\(name)' is no text with a class of the training part", place: path,
                        remedy: "Correct or remove the row.")
                }
                out.texts.append(row[0])
                out.labels.append(label)
            }
            guard !out.texts.isEmpty else {
                throw AMAFError(
                    "cli.texts", "There is no part '\(name)'", place: path,
                    remedy: "Give a file with the parts train, val and test, as CLINC150's.")
            }
            return out
        }
        return ParaphraseTexts(classNames: names, train: try part("train"), validation: try part("val"), test: try part("test"))
    }

    static func thesaurus(mythes: String, wordnet: String?, vocabulary: Set<String>) throws -> Thesaurus {
        func bytes(_ path: String, package: String) throws -> [UInt8] {
            guard FileManager.default.fileExists(atPath: path) else {
                throw AMAFError(
                    "thesaurus.missing", "There is no thesaurus at '\(path)'",
                    remedy: "Run `apt-get install \(package)`, or name the file with --mythes or --wordnet.")
            }
            return try MappedFile(path).withBytes { (bytes) throws(AMAFError) in [UInt8](bytes) }
        }
        if let wordnet {
            let files = try ["noun", "verb", "adj", "adv"].map { try bytes("\(wordnet)/data.\($0)", package: "wordnet-base") }
            return try Thesaurus(wordNet: files, vocabulary: vocabulary, place: wordnet)
        }
        return try Thesaurus(mythes: try bytes(mythes, package: "mythes-en-us"), vocabulary: vocabulary, place: mythes)
    }

    /// Samples of a T5 for training texts drawn by `seed`.
    static func write(_ texts: ParaphraseTexts, folder: String, prompt: String, count: Int, seed: UInt64) throws
        -> [ParaphraseTexts.Written]
    {
        let folder = try ModelFolder(folder)
        let tokenizer = try UnigramTokenizer(path: folder.file("spiece.model"))
        let network = try T5(
            try folder.configuration(T5.Configuration.self), ParameterStore(.checkpoint(try folder.weights(), prefix: ""), on: CPUDevice()))
        var written: [ParaphraseTexts.Written] = []
        var turn = 0
        while written.count < count {
            var order = Array(texts.train.texts.indices)
            var generator = SeededGenerator(seed: seed, stream: "t5", String(turn))
            generator.shuffle(&order)
            for start in stride(from: 0, to: order.count, by: 16) where written.count < count {
                let parents = Array(order[start..<min(order.count, start + 16)])
                let asked = parents.map { tokenizer.encode(prompt.replacing("{}", with: texts.train.texts[$0])) }
                let answers = network.sample(asked, limit: 48, seed: generator.next())
                for (parent, ids) in zip(parents, answers) {
                    let text = tokenizer.decode(ids).lowercased().trimmingCharacters(in: CharacterSet.whitespacesAndNewlines)
                    if !text.isEmpty { written.append(.init(parent: parent, text: text)) }
                }
            }
            turn += 1
        }
        return written
    }

    static func report(_ audit: ParaphraseAudit, words: Int, seeds: Int) -> String {
        var out = "# Paraphrases\n\n\(Text.count(words)) words have synonyms; \(seeds) seeds\n\n"
        out +=
            "| training texts | made | kept | validation without → with, p | test without → with, p | verdict |\n|---|---|---|---|---|---|\n"
        for row in audit.rows {
            func change(_ c: GapComparison) -> String {
                func mean(_ values: [Double]) -> String { Text.percent(values.reduce(0, +) / Double(values.count), 2) }
                return "\(mean(c.baseline)) → \(mean(c.treated)), p \(Text.fixed(c.p, 4))"
            }
            out +=
                "| \(Text.count(row.trainingTexts))\(row.shots > 0 ? " (\(row.shots) a class)" : "") | \(Text.fixed(row.made, 0)) | \(Text.fixed(row.kept, 0)) | "
            out += "\(change(row.validation)) | \(change(row.test)) | \(row.isAdmitted ? "admitted" : row.reason) |\n"
        }
        out +=
            "\nVerdicts on single paraphrases: \(audit.verdicts.sorted { $0.key < $1.key }.map { "\($0.key) \(Text.count($0.value))" }.joined(separator: ", "))\n\n"
        for pair in audit.examples where pair.count == 2 { out += "- \(pair[0]) → \(pair[1])\n" }
        return out
    }
}
