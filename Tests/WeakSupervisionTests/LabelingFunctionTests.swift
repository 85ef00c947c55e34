import Foundation
import Primitives
import Testing
import WeakSupervision

@Suite struct LabelingFunctionTests {
    static let classes = ["spam", "ham", "other"]

    /// The class names voted, nil for abstain, "fault" for a fault, of the only function.
    func votes(_ kind: LabelingFunctionSpec.Kind, _ texts: [String?], classes: [String] = classes) throws -> [String?] {
        let set = try LabelingFunctionSet(specs: [LabelingFunctionSpec(name: "f", kind: kind)], classNames: classes)
        let column = set.apply(texts: texts).columns[0].votes
        return texts.indices.map { row in
            switch column[row] {
            case VoteCode.abstain: nil
            case VoteCode.fault: "fault"
            case let vote: classes[Int(vote)]
            }
        }
    }

    @Test func keywordsMatchWholeWordsInAnyCase() throws {
        let rule = KeywordRule(className: "spam", terms: ["free", "win"])
        #expect(
            try votes(.keywords(rule), ["FREE!", "freedom", "carefree", "a win-win", "", nil, "über free", "übfree"])
                == ["spam", nil, nil, "spam", nil, nil, "spam", nil])
        var inside = rule
        inside.wordBoundaries = false
        #expect(try votes(.keywords(inside), ["freedom", "sea"]) == ["spam", nil])
        let exact = KeywordRule(className: "spam", terms: ["Free"], caseSensitive: true)
        #expect(try votes(.keywords(exact), ["Free", "free"]) == ["spam", nil])
        let prefix = KeywordRule(className: "spam", terms: ["translat*"])
        #expect(try votes(.keywords(prefix), ["translating", "mistranslate"]) == ["spam", nil])
    }

    @Test func keywordsAddDistinctWeightsAndHonourExceptions() throws {
        let rule = KeywordRule(className: "spam", terms: ["free", "cash", "now"], weights: [1, 1, 0.5], threshold: 2, except: ["mum"])
        #expect(try votes(.keywords(rule), ["free free free", "free cash", "cash free mum", "free now"]) == [nil, "spam", nil, nil])
    }

    @Test func overlappingTermsAreAllFound() throws {
        let rule = KeywordRule(className: "spam", terms: ["he", "she", "his", "hers"], threshold: 3, wordBoundaries: false)
        #expect(try votes(.keywords(rule), ["ushers", "she"]) == ["spam", nil])
    }

    @Test func classNamesAreMatchedByTheirWords() throws {
        let classes = ["transfer_money", "exchange-rate", "bookFlight"]
        let rule = ClassNameOverlapRule(threshold: 0.5)
        #expect(
            try votes(
                .classNameOverlap(rule), ["transferring to savings", "what is the RATE", "money for a flight", "hello"], classes: classes)
                == ["transfer_money", "exchange-rate", nil, nil])
        let weighted = ClassNameOverlapRule(threshold: 0.5, weights: ["money": 0.1, "flight": 3])
        #expect(try votes(.classNameOverlap(weighted), ["money", "money for a flight"], classes: classes) == [nil, "bookFlight"])
    }

    @Test func keywordScoresVoteForTheClearWinner() throws {
        let rule = KeywordScoresRule(classes: [
            .init(className: "spam", terms: ["prize", "call", "win cash"]), .init(className: "ham", terms: ["call", "lunch"]),
        ])
        #expect(
            try votes(.keywordScores(rule), ["call", "call about the prize", "calling for lunch", "win cash", "win big cash"])
                == [nil, "spam", "ham", "spam", nil])
    }

    @Test func dictionaryTakesTheLongestTerm() throws {
        let rule = try DictionaryRule(csv: "term,class\nyork,ham\n\"new york, ny\",spam\nnew york,other\npork,spam\n", place: "d.csv")
        #expect(
            try votes(.dictionary(rule), ["New York", "york", "in new york, ny", "newyork", "york or pork"])
                == ["other", "ham", "spam", nil, nil])
        #expect(throws: AMAFError.self) { try DictionaryRule(csv: "a,b\nonly-one\n", place: "d.csv") }
    }

    @Test func regexKnowsUnicodeOnBothPaths() throws {
        let rule = RegexRule(className: "spam", pattern: #"(?i)\bcafé\b|^\w+!$"#)
        #expect(
            try votes(.regex(rule), ["un CAFÉ noir", "hello!", "héllo!", "cafés", "two words!", ""])
                == ["spam", "spam", "spam", nil, nil, nil])
        let word = RegexRule(className: "spam", pattern: #"^\w+$"#)
        #expect(try votes(.regex(word), ["abc", "àbc", "a-c"]) == ["spam", "spam", nil])
    }

    @Test func aPatternWithoutEndIsAFaultNotAnAbstention() throws {
        let evil = RegexRule(className: "spam", pattern: "(a+)+$", matchLimit: 10_000)
        let set = try LabelingFunctionSet(specs: [LabelingFunctionSpec(name: "evil", kind: .regex(evil))], classNames: Self.classes)
        let bomb = String(repeating: "a", count: 40) + "b"
        let block = set.apply(texts: ["b", "aaa", bomb, bomb + "c"], firstSample: 100)
        #expect(block.columns[0].votes.cells == [-1, 0, VoteCode.fault, VoteCode.fault])
        let faults = try #require(block.columns[0].faults)
        #expect(faults.count == 2 && faults.firstSample == 102 && faults.firstError.code == "labeling-function.match-limit")
        #expect(try VoteBlock(decoding: block.encoded()) == block)
    }

    @Test(arguments: [
        (LabelingFunctionSpec(name: "a", kind: .regex(RegexRule(className: "spam", pattern: "(x"))), "labeling-function.invalid-regex"),
        (LabelingFunctionSpec(name: "a", kind: .keywords(KeywordRule(className: "spma", terms: ["x"]))), "labeling-function.unknown-class"),
        (LabelingFunctionSpec(name: "a", kind: .keywords(KeywordRule(className: "spam", terms: []))), "labeling-function.no-terms"),
        (LabelingFunctionSpec(name: "a", kind: .keywords(KeywordRule(className: "spam", terms: [""]))), "labeling-function.empty-term"),
        (LabelingFunctionSpec(name: "", kind: .keywords(KeywordRule(className: "spam", terms: ["x"]))), "labeling-function.duplicate-name"),
        (
            LabelingFunctionSpec(name: "a", kind: .keywords(KeywordRule(className: "spam", terms: ["x"], weights: [1, 2]))),
            "labeling-function.weights"
        ),
    ])
    func badFunctionsAreRefusedByName(_ spec: LabelingFunctionSpec, code: String) {
        let error = #expect(throws: AMAFError.self) { try LabelingFunctionSet(specs: [spec], classNames: Self.classes) }
        #expect(error?.code == code)
        #expect(error?.place == spec.name)
    }

    @Test func writtenFormHasDefaultsAndRefusesUnknownKeys() throws {
        let json = #"{"name": "a", "kind": "keywords", "class": "spam", "terms": ["x", "y"]}"#
        let spec = try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data(json.utf8))
        #expect(spec == LabelingFunctionSpec(name: "a", kind: .keywords(KeywordRule(className: "spam", terms: ["x", "y"]))))
        let all: [LabelingFunctionSpec] = [
            spec, LabelingFunctionSpec(name: "b", kind: .regex(RegexRule(className: "ham", pattern: "a/b"))),
            LabelingFunctionSpec(name: "c", kind: .classNameOverlap(ClassNameOverlapRule(weights: ["x": 2]))),
            LabelingFunctionSpec(name: "d", kind: .keywordScores(KeywordScoresRule(classes: [.init(className: "ham", terms: ["z"])]))),
            LabelingFunctionSpec(name: "e", kind: .dictionary(DictionaryRule(entries: [.init(term: "t", className: "other")]))),
        ]
        #expect(try JSONDecoder().decode([LabelingFunctionSpec].self, from: JSONEncoder().encode(all)) == all)
        #expect(Set(all.map(\.digest)).count == all.count)
        #expect(spec.digest == (try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data(json.utf8))).digest)
        var edited = spec
        edited.kind = .keywords(KeywordRule(className: "spam", terms: ["x", "z"]))
        #expect(edited.digest != spec.digest)
        for bad in [
            #"{"name": "a", "kind": "keywords", "class": "spam", "terms": ["x"], "treshold": 2}"#, #"{"name": "a", "kind": "oracle"}"#,
        ] {
            #expect(throws: DecodingError.self) { try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data(bad.utf8)) }
        }
    }

    /// The slow twin: every term of every function looked for on its own.
    @Test func automatonAgreesWithNaiveSearch() throws {
        var chance = SeededGenerator(seed: 7)
        let letters = Array("ab_ ")
        func word(_ longest: Int) -> String { String((0..<1 + chance.index(below: longest)).map { _ in letters[chance.index(below: 4)] }) }
        func isWord(_ c: Character) -> Bool { c != " " }
        for _ in 0..<200 {
            let terms = (0..<6).map { _ in word(3) }
            let text = word(12)
            let specs = terms.enumerated().map { i, term in
                LabelingFunctionSpec(
                    name: "f\(i)", kind: .keywords(KeywordRule(className: "spam", terms: [term], wordBoundaries: i % 2 == 0)))
            }
            let block = try LabelingFunctionSet(specs: specs, classNames: Self.classes).apply(texts: [text])
            let t = Array(text)
            for (i, term) in terms.enumerated() {
                let p = Array(term)
                var found = false
                for start in 0..<t.count where start + p.count <= t.count && Array(t[start..<start + p.count]) == p {
                    let before = i % 2 == 0 && start > 0 && isWord(t[start - 1])
                    let after = i % 2 == 0 && start + p.count < t.count && isWord(t[start + p.count])
                    if !before && !after { found = true }
                }
                #expect((block.columns[i].votes[0] == 0) == found, "'\(term)' in '\(text)'")
            }
        }
    }

    /// Published votes of published patterns: cell for cell.
    @Test(arguments: ["sms", "trec"])
    func reproducesPublishedVoteMatrices(_ name: String) throws {
        guard let rules = try SharedData.rules(name), let rows = try SharedData.wrench(name, "train") else { return }
        let classes =
            name == "sms" ? ["ham", "spam"] : ["DESCRIPTION", "ENTITY", "HUMAN", "ABBREVIATION", "LOCATION", "NUMERIC"]
        let specs = rules.enumerated().map { i, rule in
            LabelingFunctionSpec(
                name: "rule-\(i)", kind: .regex(RegexRule(className: rule.label, pattern: rule.pattern, matchLimit: 10_000_000)))
        }
        let set = try LabelingFunctionSet(specs: specs, classNames: classes)
        let block = set.apply(texts: rows.map(\.data.text))
        var differing = 0
        var votes = 0
        for (j, column) in block.columns.enumerated() {
            #expect(column.faults == nil, "\(column.function): \(String(describing: column.faults))")
            for (row, vote) in column.votes.cells.enumerated() {
                if Int(vote) != rows[row].weak_labels[j] { differing += 1 }
                if vote >= 0 { votes += 1 }
            }
        }
        #expect(differing == 0)
        #expect(votes == (name == "sms" ? 2390 : 8770))
    }

    @Test func reappliedSplitsMatchToo() throws {
        guard let rules = try SharedData.rules("sms") else { return }
        let specs = rules.enumerated().map { i, rule in
            LabelingFunctionSpec(name: "rule-\(i)", kind: .regex(RegexRule(className: rule.label, pattern: rule.pattern)))
        }
        let set = try LabelingFunctionSet(specs: specs, classNames: ["ham", "spam"])
        for split in ["valid", "test"] {
            guard let rows = try SharedData.wrench("sms", split),
                let csv = SharedData.bytes("weak-supervision/wrench-sms/votes_reapplied_\(split).csv")
            else { return }
            let wanted = Set(String(decoding: csv, as: UTF8.self).split(separator: "\n").dropFirst().map(String.init))
            var found: Set<String> = []
            for (j, column) in set.apply(texts: rows.map(\.data.text)).columns.enumerated() {
                column.votes.forEach { row, vote in found.insert("\(row),\(j),\(vote)") }
            }
            #expect(found == wanted)
        }
    }

    // MARK: Cache

    @Test func editedTextRulesDoNotParseTheDataAgain() throws {
        let scratch = try Scratch()
        let cache = try VoteCache(folder: "\(scratch.path)/cache", classNames: Self.classes)
        let texts: [String?] = (0..<300).map { $0 % 50 == 7 ? nil : "word\($0 % 12) naïve" }
        var source = LabelingFunctionCommand.Source(texts: texts, blockSize: 128)
        let read = source.read
        var reads = 0
        source.read = { block in
            reads += 1
            return try read(block)
        }
        func run(_ term: String) throws -> LabelMatrix {
            let spec = LabelingFunctionSpec(name: "f", kind: .keywords(KeywordRule(className: Self.classes[0], terms: [term])))
            return try LabelingFunctionCommand.apply([spec], classNames: Self.classes, to: source, cache: cache).matrix
        }
        let first = try run("word3")
        #expect(reads == 3)
        let edited = try run("naïve")
        #expect(reads == 3 && edited.voteCount == 294 && first.voteCount == 24)
        // Going back is no edit: the last versions of a column are still there.
        #expect(try run("word3") == first)
    }

    @Test func onlyTheEditedColumnIsComputed() throws {
        let scratch = try Scratch()
        let cache = try VoteCache(folder: "\(scratch.path)/cache", classNames: Self.classes)
        func spec(_ i: Int, _ terms: [String]) -> LabelingFunctionSpec {
            LabelingFunctionSpec(name: "f\(i)", kind: .keywords(KeywordRule(className: Self.classes[i % 3], terms: terms)))
        }
        var specs = (0..<10).map { spec($0, ["word\($0)", "x\($0)"]) }
        var texts: [String?] = (0..<1000).map { "word\($0 % 12) and x\($0 % 7)" }
        func run() throws -> LabelingFunctionCommand.Applied {
            try LabelingFunctionCommand.apply(
                specs, classNames: Self.classes, to: LabelingFunctionCommand.Source(texts: texts, blockSize: 256), cache: cache)
        }
        let first = try run()
        #expect(first.computedColumns == 40 && first.cachedColumns == 0)
        let again = try run()
        #expect(again.computedColumns == 0 && again.matrix == first.matrix)
        specs[3] = spec(3, ["word11"])
        let edited = try run()
        #expect(edited.computedColumns == 4 && edited.cachedColumns == 36)
        let plain = try LabelingFunctionCommand.apply(
            specs, classNames: Self.classes, to: LabelingFunctionCommand.Source(texts: texts, blockSize: 256))
        #expect(edited.matrix == plain.matrix)
        // New data: its block only.
        texts.append("word11")
        #expect(try run().computedColumns == 10)
        // A torn file is computed again.
        let files = try FileManager.default.contentsOfDirectory(atPath: "\(scratch.path)/cache").sorted()
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: "\(scratch.path)/cache/\(files[0])"))
        #expect(
            try run().matrix
                == LabelingFunctionCommand.apply(specs, classNames: Self.classes, to: .init(texts: texts, blockSize: 256)).matrix)
    }
}
