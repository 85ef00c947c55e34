import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

/// Models that 'amaf models pull' has fetched: in AMAF_MODELS, or in models/ beside the sources.
enum RealModels {
    static func folder(_ name: String) -> String? {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..").standardized.path
        let folder = (ProcessInfo.processInfo.environment["AMAF_MODELS"] ?? root + "/models") + "/" + name
        return FileManager.default.fileExists(atPath: folder + "/model.safetensors") ? folder : nil
    }
    static let miniLM = folder("all-minilm-l6-v2")
    static let openNSFW = folder("open-nsfw")
}

@Suite struct RealWeightsTests {
    @Test(.enabled(if: RealModels.miniLM != nil, "all-minilm-l6-v2 is not pulled")) func miniLMGivesThePublishedSimilarities() throws {
        let folder = try ModelFolder(#require(RealModels.miniLM))
        let embedder = try TextEmbedder(folder, on: CPUDevice())
        let texts = [
            "transfer 100 dollars from checking to savings", "move one hundred bucks to my savings account", "what is the weather in paris",
        ]
        #expect(embedder.ids(texts[0]) == [101, 4651, 2531, 6363, 2013, 9361, 2000, 10995, 102])
        let rows = embedder.embed(texts)
        let width = embedder.width
        func cosine(_ a: Int, _ b: Int) -> Float { (0..<width).reduce(0) { $0 + rows[a * width + $1] * rows[b * width + $1] } }
        #expect(abs(cosine(0, 1) - 0.7236) < 1e-4 && abs(cosine(0, 2) - 0.0098) < 1e-4)
        for (a, b) in zip(rows, [0.043651, 0.125518, -0.093078, -0.042747, 0.038794, -0.037120, 0.132165, 0.052383] as [Float]) {
            #expect(abs(a - b) < 2e-6)
        }
    }

    @Test(.enabled(if: RealModels.miniLM != nil, "all-minilm-l6-v2 is not pulled")) func miniLMIsWhole() throws {
        let report = try ModelReport.verify(ModelFolder(#require(RealModels.miniLM)), on: CPUDevice())
        #expect(report.tensors == 103 && report.weights == 22_713_728 - 512 && report.unused == ["embeddings.position_ids"])
        #expect(report.vocabulary == "WordPiece, 30522 pieces for 30522 rows" && report.checkedSums == 6)
    }

    /// Against ONNX Runtime's output of the graph it was converted from.
    @Test(.enabled(if: RealModels.openNSFW != nil, "open-nsfw is not pulled"), arguments: [1, 2])
    func openNSFWGivesTheRuntimesNumbers(_ lanes: Int) throws {
        let device = CPUDevice(lanes: lanes)
        let network = try ResNet.load(ModelFolder(#require(RealModels.openNSFW)), on: device)
        let count = 224 * 224 * 3
        let ramp = (0..<count).map { Float((-1 + 2 * Double($0) / Double(count - 1)) * 100) }
        let out = Operations.softmax(network(device.tensor([Float](repeating: 0, count: count) + ramp, [2, 224, 224, 3]))).values()
        for (value, expected) in zip(out, [0.7025702, 0.2974299, 0.3918475, 0.6081526] as [Float]) {
            // Fifty-three layers of sums in another order.
            #expect(abs(value - expected) < 1e-5, "\(out)")
        }
        print("open-nsfw, \(lanes) lanes: \(out)")
    }
}
