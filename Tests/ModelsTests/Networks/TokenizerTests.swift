import Datasets
import Foundation
import Models
import Primitives
import Testing

@Suite struct TokenizerTests {
    private struct Goldens: Decodable {
        var texts: [String]
        var clip: [[Int32]]
        var bert: [[Int32]]
        var unigram: [[Int32]]
        var decoded: [String]
    }
    private static func goldens() throws -> Goldens {
        try JSONDecoder().decode(Goldens.self, from: Data(contentsOf: URL(fileURLWithPath: "\(Golden.folder)/tokenizers.json")))
    }

    /// The public vocabularies where they have been fetched.
    static let vocabularies: String? = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../..").standardized.path
        let folder = (ProcessInfo.processInfo.environment["AMAF_SHARED_DATA"] ?? root + "/shared/data") + "/tokenizers"
        return FileManager.default.fileExists(atPath: folder) ? folder : nil
    }()

    static func plain(_ name: String) throws -> String {
        let target = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-\(UUID().uuidString)").path
        try Gzip.decompress("\(#require(vocabularies))/\(name)", to: target)
        return target
    }

    @Test(.enabled(if: vocabularies != nil, "the public vocabularies are not beside the package")) func clipGivesTheReferencesIds() throws {
        let path = try Self.plain("clip_bpe_simple_vocab_16e6.txt.gz")
        defer { try? FileManager.default.removeItem(atPath: path) }
        let tokenizer = try BytePairTokenizer(path: path)
        #expect(tokenizer.vocabularySize == 49408)
        let goldens = try Self.goldens()
        for (text, ids) in zip(goldens.texts, goldens.clip) { #expect(tokenizer.encode(text) == ids, "\(text)") }
    }

    @Test(.enabled(if: vocabularies != nil, "the public vocabularies are not beside the package")) func wordPieceGivesTheReferencesIds()
        throws
    {
        let path = try Self.plain("bert_uncased_vocab.txt.gz")
        defer { try? FileManager.default.removeItem(atPath: path) }
        let tokenizer = try WordPieceTokenizer(path: path)
        let goldens = try Self.goldens()
        for (text, ids) in zip(goldens.texts, goldens.bert) { #expect(tokenizer.encode(text, limit: 64) == ids, "\(text)") }
        #expect(tokenizer.encode("transfer 100 dollars from checking to savings") == [101, 4651, 2531, 6363, 2013, 9361, 2000, 10995, 102])
    }

    @Test func unigramGivesTheReferencesIds() throws {
        let tokenizer = try UnigramTokenizer(path: "\(Golden.folder)/spiece.model")
        let goldens = try Self.goldens()
        for (text, ids) in zip(goldens.texts, goldens.unigram) { #expect(tokenizer.encode(text) == ids, "\(text)") }
        for (ids, text) in zip(goldens.unigram, goldens.decoded) { #expect(tokenizer.decode(ids) == text) }
    }

    @Test func damagedVocabulariesAreRefused() throws {
        func code(_ body: () throws(AMAFError) -> Void) -> String {
            do {
                try body()
                return "accepted"
            } catch { return error.code }
        }
        #expect(
            code { () throws(AMAFError) in _ = try WordPieceTokenizer(vocabulary: ["a", "[UNK]", "[CLS]", "[SEP]"]) }
                == "tokenizer.vocabulary")
        #expect(
            code { () throws(AMAFError) in _ = try BytePairTokenizer(merges: ["#version: 0.2", "a b", "abc"]) } == "tokenizer.vocabulary")
        #expect(code { () throws(AMAFError) in _ = try UnigramTokenizer(pieces: [.init("a", 0)]) } == "tokenizer.vocabulary")
        let model = try Data(contentsOf: URL(fileURLWithPath: "\(Golden.folder)/spiece.model"))
        let cut = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: cut) }
        for count in [1, 5, 100, 2001] {
            try model.prefix(count).write(to: cut)
            #expect(code { () throws(AMAFError) in _ = try UnigramTokenizer(path: cut.path) } == "tokenizer.vocabulary", "\(count) bytes")
        }
    }
}
