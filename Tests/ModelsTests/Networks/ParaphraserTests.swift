import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

@Suite struct ParaphraserTests {
    private static let device = CPUDevice(lanes: 1)

    /// A seeded T5 over the tokenizer of the goldens.
    private func folder(rows: Int) throws -> ScratchFolder {
        let scratch = try ScratchFolder()
        var c = T5.Configuration()
        (c.vocab_size, c.d_model, c.d_kv, c.d_ff, c.num_layers, c.num_heads) = (rows, 16, 8, 32, 1, 2)
        let network = try T5(c, ParameterStore(seed: 2, on: Self.device))
        try scratch.write(
            "config.json",
            #"{"model_type": "t5", "vocab_size": \#(rows), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}"#)
        try scratch.write("model.safetensors", Safetensors.encode(network.parameters.namedTensors()))
        try scratch.write("spiece.model", Data(contentsOf: URL(fileURLWithPath: "\(Golden.folder)/spiece.model")))
        return scratch
    }

    @Test func writesWhatTheNetworkChooses() throws {
        let pieces = try UnigramTokenizer(path: "\(Golden.folder)/spiece.model").pieces.count
        let scratch = try folder(rows: pieces + 20)
        let paraphraser = try Paraphraser(scratch.folder, on: Self.device)
        let network = try T5.load(scratch.folder, on: Self.device)
        let texts = ["a photo of a cat", "what's the weather in Paris?"]
        let ids = texts.map { paraphraser.tokenizer.encode("say: " + $0) }
        let greedy = network.greedy(ids, limit: 9).map { [paraphraser.tokenizer.decode($0)] }
        #expect(paraphraser.paraphrase(texts, prefix: "say: ", method: .greedy, limit: 9) == greedy)
        let beam = network.beamSearch(ids, beams: 3, limit: 9).map { [paraphraser.tokenizer.decode($0)] }
        #expect(paraphraser.paraphrase(texts, prefix: "say: ", method: .beam(width: 3), limit: 9) == beam)
        func sampled(_ texts: [String], _ seed: UInt64) -> [[String]] {
            paraphraser.paraphrase(texts, count: 3, method: .nucleus(top: 0.95, temperature: 1), limit: 9, seed: seed)
        }
        let made = sampled(texts, 7)
        #expect(made.map(\.count) == [3, 3] && Set(made[0]).count > 1)
        #expect(made == sampled(texts, 7) && made != sampled(texts, 8))
        // What comes out for a text does not depend on those after it.
        #expect(sampled([texts[0]], 7) == [made[0]])
    }

    /// What transformers 5 writes for a T5 1.1, whose head is its own.
    @Test func aHeadOfItsOwnIsSeenInEveryVersionsFile() throws {
        func isTied(_ fields: String) throws -> Bool {
            try JSONDecoder().decode(T5.Configuration.self, from: Data("{\(fields)}".utf8)).tie_word_embeddings
        }
        #expect(try isTied("") && !isTied(#""tie_word_embeddings": false"#))
        #expect(try !isTied(#""tie_word_embeddings": true, "scale_decoder_outputs": false"#))
        #expect(try isTied(#""tie_word_embeddings": true, "scale_decoder_outputs": true"#))
    }

    @Test func vocabularyAndKindMustFit() throws {
        func code(_ scratch: ScratchFolder) throws -> String {
            do throws(AMAFError) {
                _ = try Paraphraser(try ModelFolder(scratch.path), on: Self.device)
                return "accepted"
            } catch { return error.code }
        }
        #expect(try code(folder(rows: 60)) == "model.vocabulary")
        #expect(try code(folder(rows: 1000)) == "model.vocabulary")
        let other = try folder(rows: 320)
        try other.write("config.json", #"{"model_type": "bert"}"#)
        #expect(try code(other) == "model.kind")
        let t5 = try folder(rows: 320)
        for body in [{ _ = try TextEmbedder(t5.folder, on: Self.device) }, { _ = try ImageEmbedder(t5.folder, on: Self.device) }] {
            #expect(performing: body, throws: { ($0 as? AMAFError)?.code == "model.kind" })
        }
    }
}
