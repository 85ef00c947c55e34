import Augmentation
import Primitives
import Testing

@Suite struct ThesaurusTests {
    static let mythes = """
        UTF-8
        big|2
        (adj)|large|huge|great (generic term)|of great size
        (adv)|large|boastfully
        dog|1
        (noun)|hound|domestic animal (generic term)
        zebra|1
        (noun)|equine (generic term)

        """

    @Test func readsMyThesWithoutRemarksAndPhrases() throws {
        let thesaurus = try Thesaurus(mythes: Array(Self.mythes.utf8), vocabulary: ["big", "zebra"], place: "th.dat")
        #expect(thesaurus.synonyms == ["big": ["large", "huge", "boastfully"]])
    }
    @Test func refusesWhatIsNone() {
        for text in ["", "a|b|c", "UTF-8\nword", "UTF-8\nword|2\n(noun)|x"] {
            #expect(throws: AMAFError.self) { try Thesaurus(mythes: Array(text.utf8), vocabulary: ["word"], place: "th.dat") }
        }
        #expect(throws: AMAFError.self) { try Thesaurus(wordNet: [Array("00001740 03 n zz".utf8)], vocabulary: [], place: "data.noun") }
    }
    @Test func readsSynsets() throws {
        let noun = """
              1 This software and database is being provided to you
            00001740 03 n 02 car 0 auto 1 001 @ 00001930 n 0000 | a vehicle
            00001930 03 n 03 car 0 railcar 0 railway_car 0 000 | on rails
            """
        let thesaurus = try Thesaurus(wordNet: [Array(noun.utf8)], vocabulary: ["car"], place: "data.noun")
        #expect(thesaurus.synonyms == ["car": ["auto", "railcar"]])
    }
}

@Suite struct ParaphraserTests {
    static let thesaurus = Thesaurus(synonyms: ["move": ["shift", "transfer"], "cash": ["money"], "not": ["never"], "my": ["mine"]])

    @Test func replacesContentWordsOnly() throws {
        let paraphraser = ThesaurusParaphraser(Self.thesaurus, share: 1)
        var generator = SeededGenerator(seed: 1)
        var seen: Set<String> = []
        for _ in 0..<20 { seen.insert(try #require(paraphraser.paraphrase("do not move my cash to 500", generator: &generator))) }
        #expect(seen == ["do not shift my money to 500", "do not transfer my money to 500"])
        #expect(paraphraser.paraphrase("do not do it", generator: &generator) == nil)
    }
    @Test func oneWordAtLeast() throws {
        var generator = SeededGenerator(seed: 1)
        let text = try #require(ThesaurusParaphraser(Self.thesaurus, share: 0.01).paraphrase("move cash", generator: &generator))
        #expect(text != "move cash" && (text.hasPrefix("move ") || text.hasSuffix(" cash")))
    }
    @Test func filtersByEveryRule() {
        var pass = ParaphraseFilter.Pass(ParaphraseFilter(), known: ["pay the Bill"])
        func judge(_ text: String, similarity: Double = 0.8, confidence: Double = 0.9, agrees: Bool = true) -> ParaphraseFilter.Verdict {
            pass.judge(text, parent: 1, parentText: "pay my bill now", similarity: similarity, confidence: confidence, agrees: agrees)
        }
        #expect(judge("Pay  the bill") == .duplicate)
        #expect(judge("feed my cat now", similarity: 0.3) == .tooFar)
        #expect(judge("pay my bill  now", similarity: 0.99) == .tooNear)
        #expect(judge("pay") == .length)
        #expect(judge("settle my bill now", confidence: 0.5) == .doubtful)
        #expect(judge("settle my bill now", agrees: false) == .doubtful)
        #expect(judge("settle my bill now") == .kept)
        #expect(judge("settle my bill now") == .duplicate)
        for word in ["a", "b", "c"] { #expect(judge("settle \(word) bill now") == .kept) }
        #expect(judge("settle d bill now") == .quota)
    }
}

@Suite struct PictureSheetTests {
    @Test func tilesLieWhereTheyShould() {
        let sheet = PictureSheet(rows: [[[1, 2], [3, 4]], [[5, 6]]], tile: (2, 1), magnification: 1, gap: 1)
        #expect(sheet.width == 7 && sheet.height == 5)
        #expect(Array(sheet.pixels[7..<14]) == [128, 1, 2, 128, 3, 4, 128])
        #expect(Array(sheet.pixels[21..<28]) == [128, 5, 6, 128, 128, 128, 128])
        #expect(sheet.pgm().starts(with: Array("P5\n7 5\n255\n".utf8)) && sheet.pgm().count == 11 + 35)
    }
}
