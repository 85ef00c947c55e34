import ActiveLearning
import Datasets
import Foundation
import Manifests
import Primitives
import Testing
import WeakSupervision

@Suite struct PipelineManifestTests {
    private static let minimal = "name: p\ndataset: {generate: {samples: 10}}\n"

    @Test func defaultsFillWhatIsNotSaid() throws {
        let manifest = try ManifestFolder().pipeline(Self.minimal)
        #expect(manifest.features == FeatureSettings() && manifest.review == ReviewSettings() && manifest.seeds == [1])
        #expect(!manifest.stages.runs(.applyLabelingFunctions) && !manifest.stages.runs(.fitLabelModel), "there are no functions")
        #expect(manifest.stages.runs(.trainClassifier) && manifest.stages.runs(.review))
        var changed = Defaults()
        changed.seeds = [7]
        let folder = try ManifestFolder()
        #expect(try PipelineManifest.load(folder.write("p.yaml", Self.minimal), defaults: changed).seeds == [7])
    }

    @Test func everyKnobIsRead() throws {
        let folder = try ManifestFolder(["f.yaml": "functions: [{name: a, kind: class-name-overlap}]"])
        let manifest = try folder.pipeline(
            """
            name: all
            dataset: {generate: {samples: 1_000, classes: 5, seed: 3}}
            labeling-functions: f.yaml
            stages: {export: no, evaluate: {after: [review]}}
            block-size: 64
            features: {buckets: 4096, word-ngrams: [1, 1], char-ngrams: none}
            label-model: majority
            classifier: {epochs: 2, l2: 0.5}
            acquisition: entropy
            control: none
            review: {mode: simulated, budget: 300, rounds: 4, initial: 10, error-rate: 0.1, seconds-per-item: 2.5}
            noisy-reviewer: [0.05, 0.2]
            seeds: [4, 5]
            checkpoints: [100, 200]
            audit: 5 %
            export: csv
            numerics: any
            priority: -2
            weight: 2.5
            """)
        #expect(manifest.blockSize == 64)
        #expect(manifest.features == FeatureSettings(buckets: 4096, wordNgrams: NgramRange(1, 1), charNgrams: nil))
        #expect(manifest.labelModel == .majority && manifest.classifier == ClassifierSettings(epochs: 2, l2: 0.5))
        #expect(manifest.acquisition == .entropy && manifest.control == nil)
        #expect(
            manifest.review
                == ReviewSettings(
                    mode: .simulated, budget: .count(300), rounds: 4, initial: .count(10), errorRate: 0.1, secondsPerItem: 2.5))
        #expect(manifest.noisyReviewer == [0.05, 0.2] && manifest.seeds == [4, 5] && manifest.checkpoints == [.count(100), .count(200)])
        #expect(manifest.audit == .share(0.05) && manifest.export == [.csv] && manifest.numerics == .any)
        #expect(manifest.priority == -2 && manifest.weight == 2.5)
        #expect(!manifest.stages.runs(.export) && manifest.stages[.evaluate].after == [.review])
        #expect(manifest.stages.runs(.applyLabelingFunctions))
        let json = CanonicalJSON.encode(manifest)
        #expect(try CanonicalJSON.decode(PipelineManifest.self, from: json, what: "pipeline") == manifest)
    }

    /// Text after the two lines of a good pipeline, the code and the place of the error.
    @Test(arguments: [
        ("review: {budgt: 3}", "manifest.unknown-key", "3:10"), ("lable-model: majority", "manifest.unknown-key", "3:1"),
        ("review: {budget: 0}", "manifest.out-of-range", "3:18"), ("review: {budget: 1.5}", "manifest.out-of-range", "3:18"),
        ("review: {budget: 120 %}", "manifest.out-of-range", "3:18"), ("review: {budget: lots}", "manifest.wrong-type", "3:18"),
        ("review: {rounds: 0}", "manifest.out-of-range", "3:18"), ("review: {rounds: 2.5}", "manifest.wrong-type", "3:18"),
        ("review: {error-rate: 1}", "manifest.out-of-range", "3:22"), ("review: {initial: 30 %}", "manifest.initial-beyond-budget", "3:19"),
        ("review: 3", "manifest.wrong-type", "3:9"), ("review: {mode: simulate}", "manifest.unknown-value", "3:16"),
        ("acquisition: entropie", "manifest.unknown-value", "3:14"), ("label-model: [a]", "manifest.wrong-type", "3:14"),
        ("label-model: {model: auto, rounds: 3}", "manifest.not-in-rounds", "3:36"),
        ("label-model: {rounds: 0}", "manifest.out-of-range", "3:23"),
        ("stages: {ingst: true}", "manifest.unknown-stage", "3:10"),
        ("stages: {export: {after: [exprt]}}", "manifest.unknown-stage", "3:27"),
        ("stages: {ingest: {after: [export]}}", "manifest.cyclic-stages", "3:9"),
        ("stages: {review: {after: [evaluate]}, evaluate: {after: [review]}}", "manifest.cyclic-stages", "3:9"),
        ("stages: {export: {after: [export]}}", "manifest.cyclic-stages", "3:9"),
        ("stages: {extract-features: false}", "manifest.stage-needs", "3:9"),
        ("stages: {export: {on: true}}", "manifest.unknown-key", "3:19"),
        ("seeds: []", "manifest.bad-seeds", "3:8"), ("seeds: [1, 1]", "manifest.bad-seeds", "3:8"),
        ("seeds: [-1]", "manifest.out-of-range", "3:9"),
        ("seeds: 1", "manifest.wrong-type", "3:8"), ("checkpoints: [0.3]", "manifest.checkpoint-beyond-budget", "3:14"),
        ("checkpoints: [0.2, 0.1]", "manifest.out-of-range", "3:14"), ("features: {buckets: 1000}", "manifest.out-of-range", "3:21"),
        ("features: {word-ngrams: [2, 1]}", "manifest.out-of-range", "3:25"),
        ("features: {word-ngrams: none, char-ngrams: none}", "manifest.out-of-range", "3:25"),
        ("labeling-functions: none.yaml", "manifest.missing-file", "3:21"), ("numerics: loose", "manifest.unknown-value", "3:11"),
        ("weight: 0", "manifest.out-of-range", "3:9"), ("name: q", "manifest.duplicate-key", ""), ("  x: 1", "manifest.yaml-syntax", ""),
        ("review: {mode: file", "manifest.yaml-syntax", ""), ("a: 'b", "manifest.yaml-syntax", ""),
        ("a: @b", "manifest.yaml-syntax", "3:4"),
        ("noisy-reviewer: [0.1]\nreview: {mode: file}", "manifest.unused-key", "3:17"), ("export: [pdf]", "manifest.unknown-value", "3:10"),
        ("scheduler: {}", "manifest.unknown-key", "3:1"), ("classifier: {l2: .inf}", "manifest.wrong-type", "3:18"),
    ])
    func mistakesAreNamed(_ line: String, _ code: String, _ place: String) throws {
        let folder = try ManifestFolder()
        let error = failure { try folder.pipeline(Self.minimal + line + "\n") }
        #expect(error?.code == code, "\(String(describing: error))")
        #expect(error?.place.hasPrefix("\(folder.path)/p.yaml:") == true, "\(String(describing: error))")
        if !place.isEmpty { #expect(error?.place == "\(folder.path)/p.yaml:\(place)", "\(String(describing: error))") }
    }

    @Test func misspeltWordsGetASuggestion() throws {
        let folder = try ManifestFolder()
        #expect(failure { try folder.pipeline(Self.minimal + "acquisition: entropie\n") }?.remedy == "Did you mean 'entropy'?")
        #expect(failure { try folder.pipeline(Self.minimal + "review: {budgte: 3}\n") }?.remedy == "Did you mean 'budget'?")
        #expect(failure { try folder.pipeline(Self.minimal + "stages: {exprot: false}\n") }?.remedy == "Did you mean 'export'?")
        #expect(failure { try folder.pipeline(Self.minimal + "zzzzzz: 1\n") }?.remedy.hasPrefix("Known here are") == true)
    }

    @Test func wholeFilesThatAreWrong() throws {
        let folder = try ManifestFolder()
        #expect(failure { try PipelineManifest.load(folder.path + "/none.yaml") }?.code == "manifest.missing-file")
        #expect(failure { try PipelineManifest.load(folder.path) }?.code == "manifest.unreadable-file")
        #expect(failure { try folder.pipeline("") }?.code == "manifest.empty")
        #expect(failure { try folder.pipeline("- a\n- b\n") }?.code == "manifest.wrong-type")
        #expect(failure { try folder.pipeline("dataset: {generate: {samples: 1}}\n") }?.code == "manifest.missing-key")
        #expect(failure { try folder.pipeline("name: p\n") }?.code == "manifest.missing-key")
        #expect(failure { try folder.pipeline("name: ../p\ndataset: {generate: {samples: 1}}\n") }?.code == "manifest.bad-name")
        #expect(failure { try folder.pipeline("name: p\ndataset: clinc151\n") }?.code == "manifest.missing-file")
        try Data([0x6E, 0xFF, 0xFE]).write(to: URL(fileURLWithPath: folder.path + "/b.yaml"))
        #expect(failure { try PipelineManifest.load(folder.path + "/b.yaml") }?.code == "manifest.not-utf8")
        #expect(failure { try folder.pipeline("a: \u{1}\n") }?.code == "manifest.yaml-syntax")
    }

    @Test func amountsOfSamples() {
        #expect(Amount.share(0.13).of(15_000) == 1950 && Amount.share(0.2).of(15_000) == 3000)
        #expect(Amount.share(1).of(7) == 7 && Amount.share(0.5).of(7) == 3 && Amount.count(9).of(7) == 7)
    }

    @Test func reviewNeedsAnswersFromSomewhere() throws {
        let folder = try ManifestFolder(["t.txt": "one\ntwo\n"])
        let data = "name: p\ndataset: {format: text-lines, path: t.txt%}\n"
        #expect(failure { try folder.pipeline(data.replacing("%", with: "")) }?.code == "manifest.no-gold")
        #expect(failure { try folder.pipeline(data.replacing("%", with: "") + "review: {mode: file}\n") }?.code == "manifest.no-classes")
        let manifest = try folder.pipeline(data.replacing("%", with: ", classes: [a, b]") + "review: {mode: file}\n")
        #expect(manifest.classNames == ["a", "b"] && manifest.dataset.location == .local(folder.path + "/t.txt"))
        #expect(
            failure { try folder.pipeline(data.replacing("%", with: ", classes: [TODO-a, b]") + "review: {mode: file}\n") }?.code
                == "manifest.todo")
    }
}
