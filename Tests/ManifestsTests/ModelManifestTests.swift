import Datasets
import Foundation
import Manifests
import Primitives
import Testing

@Suite struct ModelManifestTests {
    private static let digest = String(repeating: "ab", count: 32)
    private static let good = """
        name: tiny
        architecture: resnet
        licence: MIT
        source: {package: tiny-package, wheel: tiny-1.0-py3-none-any.whl, sha256: \(digest)}
        files:
          - {file: net.onnx, member: tiny/net.onnx, sha256: \(digest), bytes: 12}
        convert:
          onnx: net.onnx
          labels: [a, b]
          preprocessing: {resize: 256, squash: true, crop: 224, bgr: true, mean: [104, 117, 123]}
        """

    private func load(_ text: String) throws -> Result<ModelManifest, AMAFError> {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-model-\(UUID().uuidString).yaml").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        do throws(AMAFError) { return .success(try ModelManifest.load(path)) } catch {
            #expect(error.place.hasPrefix(path) && !error.remedy.isEmpty)
            return .failure(error)
        }
    }

    @Test func reads() throws {
        let manifest = try load(Self.good).get()
        #expect(manifest.name == "tiny" && manifest.architecture == "resnet")
        #expect(manifest.model.files == [.init(name: "net.onnx", member: "tiny/net.onnx", sha256: Digest(hex: Self.digest), byteCount: 12)])
        #expect(manifest.conversion?.preprocessing?.mean == [104, 117, 123])
        guard case .wheel(let wheel) = manifest.model.source else { throw CancellationError() }
        #expect(wheel.package == "tiny-package")
        let hub = Self.good.replacing(
            "{package: tiny-package, wheel: tiny-1.0-py3-none-any.whl, sha256: \(Self.digest)}", with: "{hub: owner/tiny, revision: abc}")
        #expect(try load(hub).get().model.source == .hub(repository: "owner/tiny", revision: "abc"))
    }

    @Test(arguments: [
        ("name: tiny", "name: ../tiny", "manifest.bad-name"), ("licence: MIT\n", "", "manifest.missing-key"),
        ("file: net.onnx", "file: ../net.onnx", "manifest.bad-name"), ("onnx: net.onnx", "onnx: other.onnx", "manifest.missing-file"),
        ("wheel: tiny-1.0", "wheel: ../tiny-1.0", "manifest.bad-name"), ("bytes: 12", "bytes: 0", "manifest.out-of-range"),
        ("crop: 224", "crop: 300", "manifest.out-of-range"), ("labels:", "lables:", "manifest.unknown-key"),
        ("sha256: \(digest), bytes", "sha256: abc, bytes", "manifest.bad-digest"),
        ("mean: [104, 117, 123]", "mean: [1, 2]", "manifest.missing-key"),
    ]) func refuses(_ part: String, _ other: String, _ code: String) throws {
        #expect(Self.good.contains(part))
        guard case .failure(let error) = try load(Self.good.replacing(part, with: other)) else {
            Issue.record("'\(other)' was accepted")
            return
        }
        #expect(error.code == code, "\(error)")
    }

    @Test func theRepositorysCatalogueIsWhole() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..").standardized.path
        let models = try ModelManifest.catalogue("\(root)/configs/models")
        #expect(models.map(\.name) == ["all-minilm-l6-v2", "open-nsfw"])
        for model in models { #expect(model.path == "\(root)/configs/models/\(model.name).yaml" && !model.licence.isEmpty) }
    }
}
