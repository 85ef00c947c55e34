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
    ])
    func refusals(text: String, code: String) {
        #expect(failure { try load(Self.table + text + "\n") }?.code == code)
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

    @Test(arguments: ["pneumonia-mnist", "fashion-mnist", "chest-xray", "chest-xray-notes", "chexpert"])
    func shippedPipelines(name: String) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
        let manifest = try PipelineManifest.load("\(root)/configs/pipelines/\(name).yaml")
        #expect(manifest.name == name && manifest.dataset.pool.kind.holdsImages)
        if let functions = manifest.labelingFunctions { #expect(try LabelingFunctionFile.load(functions).specs.count >= 3) }
    }
}
