import Datasets
import Foundation
import Manifests
import Primitives
import Testing

@Suite struct ImageManifestTests {
    private func load(_ text: String) throws -> PipelineManifest {
        try PipelineManifest.parse(text, path: NSTemporaryDirectory() + "pipeline.yaml")
    }

    private static let table = """
        name: x
        dataset:
          format: image-csv
          data: nih/labels.csv
          images: images
          fields: {image: file, label: finding}
          where: {source: NIH}
          groups: {column: patient, test: 0.3, validation: 0.1}
          splits: {pool: pool, validation: validation, test: test}

        """

    @Test func tablesOfImages() throws {
        let manifest = try load(
            Self.table + "features: {images: {parts: [pixels], side: 32, cell: 8, components: 20}}\nclassifier: {ridge: 2}\n")
        #expect(manifest.dataset.location == .dataFolder("nih/labels.csv"))
        let rows = try #require(manifest.dataset.pool.images)
        #expect(rows.root == "images" && rows.conditions == [.init(column: "source", value: "NIH")])
        #expect(rows.groups == .init(column: "patient", testShare: 0.3, validationShare: 0.1))
        #expect(manifest.dataset.validation?.splits == ["validation"] && manifest.dataset.test?.splits == ["test"])
        #expect(manifest.features.images.parts == [.pixels] && manifest.features.images.cell == 8 && manifest.classifier.ridge == 2)
    }

    @Test(arguments: [
        ("features: {images: {side: 30, cell: 7}}", "manifest.out-of-range"),
        ("features: {images: {network: clip}}", "manifest.missing-key"),
        ("features: {images: {zero-shot: {prompts: {a: b}}}}", "manifest.unused-key"),
        ("features: {images: {sides: 3}}", "manifest.unknown-key"),
        ("augmentation: {weight: 1}", "manifest.missing-key"), ("augmentation: {methods: [cloning]}", "manifest.unknown-value"),
        ("augmentation: {methods: [jitter, jitter]}", "manifest.out-of-range"),
        ("augmentation: {methods: [jitter], rotation: 200}", "manifest.out-of-range"),
        ("augmentation: {methods: [jitter]}\nreview: {mode: none}", "manifest.unused-key"),
        ("vae: {replicas: 9, batch: 8}", "manifest.out-of-range"),
    ])
    func refusals(text: String, code: String) {
        #expect(failure { try load(Self.table + text + "\n") }?.code == code)
    }

    @Test func syntheticSamplesAreAskedFor() throws {
        let manifest = try load(
            Self.table + """
                pool-limits: {a: 5, b: 0}
                features: {images: {network: vae}}
                vae: {latent: 9, mode: synchronous}
                augmentation:
                  methods: [interpolation, rotation]
                  per-class: 30
                  weight: 0.25
                  rotation: {degrees: 10, mirror: true}
                  rotation-by-class: {a: 0}
                  admission: {consistency: 0.5}

                """)
        #expect(manifest.dataset.pool.images?.limits == ["a": 5, "b": 0] && manifest.dataset.test?.images?.limits == nil)
        #expect(
            manifest.features.images.network == .vae && manifest.features.images.model == nil && manifest.vae.latent == 9
                && manifest.vae.mode == .synchronous)
        let settings = try #require(manifest.augmentation)
        #expect(settings.methods == [.interpolation, .rotation] && settings.quota == .count(30) && settings.weight == 0.25)
        #expect(settings.turn == .init(maximumDegrees: 10, mayMirror: true) && settings.turnsByClass == ["a": .init(maximumDegrees: 0)])
        #expect(settings.admission.minimumConsistency == 0.5 && settings.admission.minimumPrecision == nil)
        #expect(try load(Self.table + "augmentation: none\n").augmentation == nil)
        let texts = "name: x\ndataset: {format: csv, path: .}\naugmentation: {methods: [jitter]}\n"
        #expect(failure { try load(texts) }?.code == "manifest.unused-key")
    }

    @Test func chexpertNamesAnObservation() throws {
        let text =
            "name: x\ndataset:\n  format: chexpert\n  data: CheXpert\n  observation: Edema\n  uncertain: ones\n  splits: {pool: train, test: valid}\n"
        let manifest = try load(text)
        #expect(manifest.dataset.pool.images?.observation == "Edema" && manifest.dataset.pool.images?.uncertain == .ones)
        #expect(failure { try load(text.replacing("Edema", with: "Oedema")) }?.code == "manifest.missing-key")
        #expect(failure { try load(text.replacing("data: CheXpert", with: "data: ../x")) }?.code == "manifest.bad-name")
        #expect(failure { try load(text.replacing("test: valid", with: "validation: train")) }?.code == "manifest.test-in-pool")
    }

    @Test func severalLabelsASample() throws {
        let chexpert =
            "name: x\ndataset:\n  format: chexpert\n  data: CheXpert\n  observations: all\n  blank: zeros\n  splits: {pool: train}\n"
        let all = try #require(try load(chexpert).dataset.pool.images?.labels)
        #expect(all.names == ChexpertObservations.names && all.source == .columns && all.blank == .zeros)
        let some = try load(chexpert.replacing("all", with: "[Edema, Fracture]"))
        #expect(some.dataset.pool.images?.labels?.names == ["Edema", "Fracture"] && some.dataset.hasGold)
        #expect(failure { try load(chexpert.replacing("all", with: "[Edema, Gout]")) }?.code == "manifest.unknown-label")
        #expect(failure { try load(chexpert.replacing("all", with: "[Edema, Edema]")) }?.code == "manifest.duplicate-class")
        #expect(failure { try load(chexpert.replacing("all", with: "[Edema]")) }?.code == "manifest.out-of-range")

        let table = Self.table.replacing(
            "fields: {image: file, label: finding}", with: "fields: {image: file}\n  hide: [report]\n  labels: LABELS")
        func labels(_ text: String) throws -> ImageRows? { try load(table.replacing("LABELS", with: text)).dataset.pool.images }
        let listed = try #require(try labels("{column: finding, none: No Finding, names: [Edema, Mass]}"))
        #expect(listed.labels?.source == .list(column: "finding", separator: "|", none: "No Finding") && listed.hidden == ["report"])
        #expect(try labels("{columns: [Edema, Mass], uncertain: zeros}")?.uncertain == .zeros)
        #expect(failure { try labels("{column: finding}") }?.code == "manifest.missing-key")
        #expect(failure { try labels("{column: finding, none: Mass, names: [Edema, Mass]}") }?.code == "manifest.out-of-range")
        let both = Self.table.replacing("  where:", with: "  labels: {columns: [Edema, Mass]}\n  where:")
        #expect(failure { try load(both) }?.code == "manifest.unused-key")
    }

    @Test(arguments: [
        "pneumonia-mnist", "fashion-mnist", "fashion-mnist-long-tail", "chest-xray", "chest-xray-notes", "chest-xray-findings", "chexpert",
    ])
    func shippedPipelines(name: String) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
        let manifest = try PipelineManifest.load("\(root)/configs/pipelines/\(name).yaml")
        #expect(manifest.name == name && manifest.dataset.pool.kind.holdsImages)
        if let functions = manifest.labelingFunctions { #expect(try LabelingFunctionFile.load(functions).specs.count >= 3) }
    }
}
