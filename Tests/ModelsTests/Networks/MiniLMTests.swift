import Foundation
import Kernels
import Models
import Testing

/// Real weights: a MiniLM folder (config.json, model.safetensors, vocab.txt) named by AMAF_MINILM.
@Suite struct MiniLMTests {
    static let folder = ProcessInfo.processInfo.environment["AMAF_MINILM"]

    @Test(.enabled(if: folder != nil, "AMAF_MINILM names no folder")) func givesThePublishedSimilarities() throws {
        let folder = try ModelFolder(#require(Self.folder))
        let device = CPUDevice()
        let network = try BERT.load(folder, on: device)
        let tokenizer = try WordPieceTokenizer(path: folder.file("vocab.txt"))
        let texts = [
            "transfer 100 dollars from checking to savings", "move one hundred bucks to my savings account", "what is the weather in paris",
        ]
        let embeddings = network.embed(texts.map { tokenizer.encode($0) })
        let width = network.configuration.hidden_size
        func cosine(_ a: Int, _ b: Int) -> Float { (0..<width).reduce(0) { $0 + embeddings[a * width + $1] * embeddings[b * width + $1] } }
        #expect(abs(cosine(0, 1) - 0.7236) < 1e-4 && abs(cosine(0, 2) - 0.0098) < 1e-4)
        for (a, b) in zip(embeddings, [0.043651, 0.125518, -0.093078, -0.042747, 0.038794, -0.037120, 0.132165, 0.052383] as [Float]) {
            #expect(abs(a - b) < 2e-6)
        }
        print("epoch-minilm cosines \(cosine(0, 1)) \(cosine(0, 2)), first \(embeddings.prefix(8))")
    }
}
