import ArgumentParser
import Augmentation
import Datasets
import Foundation
import Logging
import Models
import Primitives
import Scheduling
import Stages
import Telemetry

struct AugmentAudit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Measure on a long tail whether synthetic samples reduce bias, over seeds.",
        discussion: """
            Each seed draws --head images of most classes and --tail images of --tail-classes, trains a conditional VAE on them alone, fills the \
            tail up in each arm's way and trains the same classifier with the same number of steps. Head–tail gaps are compared with those without \
            augmentation and with plain oversampling: relative reduction, bootstrap interval, Student's paired p.
            """)

    @OptionGroup var files: ImageFiles
    @Option(help: "Seeds, from 1.") var seeds = 5
    @Option(help: "Comma-separated numbers of the rare classes; by default the second half.") var tailClasses: String?
    @Option(help: "Images of a frequent class.") var head = 500
    @Option(help: "Images of a rare class.") var tail = 20
    @Option(help: "Ways to fill the tail up; methods joined by + share it.") var arm: [String] = AuditParameters.standardArms
    @Option(help: "Steps of the VAE, of 128 images.") var vaeSteps = 2000
    @Option(help: "Steps of the classifier, of 128 images.") var classifierSteps = 2500
    @Option(help: "Degrees that images may be turned by, both ways; never mirrored.") var rotation = 15.0
    @Option(help: "Worker processes to start.") var workers = 2
    @Option(name: .shortAndLong, help: "Folder for results.") var output = "amaf-output/augment-audit"
    @Flag(help: "No progress display.") var quiet = false

    func run() throws {
        try reporting(json: false) {
            LogBootstrap.start(level: .warning)
            let loaded = try files.load()
            guard let test = loaded.test else {
                throw AMAFError("cli.no-test", "An audit measures on test images", remedy: "Give --test-images and --test-labels.")
            }
            guard seeds >= 2, workers >= 1, !arm.contains(where: \.isEmpty), arm.contains(AugmentationAudit.none) else {
                throw AMAFError(
                    "cli.audit", "\(seeds) seeds, \(workers) workers, arms \(arm.joined(separator: ", "))",
                    remedy: "Give two seeds or more, a worker, and the arm 'none' to compare with.")
            }
            let classes = loaded.classNames.count
            let rare = try tailClasses.map { try Self.numbers($0, below: classes) } ?? Array(classes / 2..<classes)
            let parameters = AuditParameters(
                network: .init(
                    height: loaded.height, width: loaded.width, architecture: .dense(hidden: [400]), classes: classes),
                classNames: loaded.classNames, tailClasses: rare, headCount: head, tailCount: tail, seeds: (1...UInt64(seeds)).map { $0 },
                arms: arm, vaeSteps: vaeSteps, classifierSteps: classifierSteps,
                rotation: RotationRules(standard: .init(maximumDegrees: rotation)))
            let uploads = [loaded.images.encode(), loaded.labels.encode(), test.images.encode(), test.labels.encode()]
            let digests = uploads.map { Digest.of($0) }
            var builder = AugmentationPlan(
                AugmentationArtifacts(images: digests[0], labels: digests[1], testImages: digests[2], testLabels: digests[3]))
            builder.audit(parameters)
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
            let run = AugmentRun(
                plan: builder.run(named: "augment-audit"), uploads: uploads, folder: output, workers: workers, tags: "cpu", quiet: quiet)
            try run.carryOut(results: [AugmentationPlan.audit, AugmentationPlan.comparison]) { finished in
                let audit = try finished.document(AugmentationAudit.self, "audit", of: AugmentationPlan.comparison)
                try AugmentRun.write(try finished.bytes("audit", of: AugmentationPlan.comparison), "\(output)/audit.json")
                for number in 0..<seeds {
                    try AugmentRun.write(
                        try finished.bytes("arms", of: AugmentationPlan.audit, block: number), "\(output)/seed-\(number + 1).json")
                }
                try AugmentRun.write(try finished.bytes("sheet.png", of: AugmentationPlan.audit), "\(output)/sheet.png")
                let first = try CanonicalJSON.decode(
                    [AuditedArm].self, from: try finished.bytes("arms", of: AugmentationPlan.audit), what: "audit of a seed")
                var report = "# Augmentation audit\n\n\(loaded.images.count) images, \(test.images.count) test images; "
                report += "\(head) of each class, \(tail) of \(rare.map { loaded.classNames[$0] }.joined(separator: ", "))\n\n"
                report += audit.markdown() + "\nSamples of seed 1, method by method:\n\n"
                report += AdmissionText.table(
                    first.filter { arm in arm.admission.count == 1 && arm.admission[0].method == arm.name }.flatMap(\.admission))
                report += "\n```\n\(AugmentRun.timings(finished))\n```\n"
                try AugmentRun.write(Array(report.utf8), "\(output)/report.md")
                Console.out(report)
            }
        }
    }

    private static func numbers(_ list: String, below bound: Int) throws -> [Int] {
        try list.split(separator: ",").map { text in
            guard let number = Int(text), (0..<bound).contains(number) else {
                throw AMAFError("cli.class-number", "'\(text)' is no class of \(bound)", remedy: "Give numbers from 0 to \(bound - 1).")
            }
            return number
        }
    }
}

struct AugmentTexts: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "texts", abstract: "Paraphrase labelled texts, filter the paraphrases, and measure whether they help.",
        discussion: """
            Reads a file in CLINC150's form: {"train": [[text, class], …], "val": …, "test": …}, plain or gzipped. Without --t5 words are replaced by \
            synonyms of --mythes (Debian's mythes-en-us) or --wordnet (wordnet-base). The validation part decides whether paraphrases are learned \
            from; the test part is only reported.
            """)

    @Argument(help: "The texts.") var file: String
    @Option(help: "MyThes data.") var mythes = "/usr/share/mythes/th_en_US_v2.dat"
    @Option(help: "Folder with WordNet's data.noun, data.verb, data.adj, data.adv; instead of --mythes.") var wordnet: String?
    @Option(help: "Folder of a T5 that paraphrases (config.json, model.safetensors, spiece.model).") var t5: String?
    @Option(help: "What T5 is asked with; {} is the text.") var prompt = "paraphrase: {} </s>"
    @Option(help: "Paraphrases wanted.") var count = 10_000
    @Option(help: "Share of a text's words that is replaced.") var share = 0.2
    @Option(help: "Seeds, from 1.") var seeds = 5
    @Option(help: "Training texts of each class; 0 for all. May be given several times.") var shots: [Int] = [0, 10]
    @Option(help: "Worker processes to start.") var workers = 2
    @Option(name: .shortAndLong, help: "Folder for results.") var output = "amaf-output/augment-texts"
    @Flag(help: "No progress display.") var quiet = false

    func run() throws {
        try reporting(json: false) {
            LogBootstrap.start(level: .warning)
            guard seeds >= 2, workers >= 1, count >= 1, !shots.isEmpty, share > 0, share <= 1 else {
                throw AMAFError("cli.audit", "\(seeds) seeds, \(workers) workers, \(count) paraphrases", remedy: "Give two seeds or more.")
            }
            var texts = try LabelledTexts.read(file)
            let vocabulary = Set(texts.train.texts.flatMap { $0.split(separator: " ").map(String.init) })
            var thesaurus = Thesaurus(synonyms: [:])
            if let t5 {
                texts.written = try LabelledTexts.write(texts, folder: t5, prompt: prompt, count: count * 2, seed: 1)
            } else {
                thesaurus = try LabelledTexts.thesaurus(mythes: mythes, wordnet: wordnet, vocabulary: vocabulary)
            }
            let uploads = [Array(CanonicalJSON.encode(texts).utf8), Array(CanonicalJSON.encode(thesaurus.synonyms).utf8)]
            let parameters = ParaphraseParameters(count: count, share: share, seeds: (1...UInt64(seeds)).map { $0 }, shots: shots)
            let plan = AugmentationPlan.paraphrases(parameters, texts: Digest.of(uploads[0]), thesaurus: Digest.of(uploads[1]))
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
            let run = AugmentRun(plan: plan, uploads: uploads, folder: output, workers: workers, tags: "cpu", quiet: quiet)
            let stages = [AugmentationPlan.paraphraseAudit, AugmentationPlan.paraphraseComparison]
            try run.carryOut(results: stages) { finished in
                let audit = try finished.document(ParaphraseAudit.self, "audit", of: AugmentationPlan.paraphraseComparison)
                try AugmentRun.write(try finished.bytes("audit", of: AugmentationPlan.paraphraseComparison), "\(output)/audit.json")
                try AugmentRun.write(
                    try finished.bytes("paraphrases.tsv", of: AugmentationPlan.paraphraseAudit), "\(output)/paraphrases.tsv")
                var report = LabelledTexts.report(audit, words: thesaurus.synonyms.count, seeds: seeds)
                report += "\n```\n\(AugmentRun.timings(finished))\n```\n"
                try AugmentRun.write(Array(report.utf8), "\(output)/report.md")
                Console.out(report)
            }
        }
    }
}
