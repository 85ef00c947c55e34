import Datasets
import Foundation
import Primitives
import Testing

@Suite struct JSONLinesTests {
    private let labelled = DatasetFormat.jsonl(.init(id: "id", text: "text", label: "label"))

    @Test func readsTextsLabelsAndMetadata() throws {
        let data = try Indexed(
            "a.jsonl",
            """
            {"id":"x1","text":"first","label":"beta","lang":"en","n":[1, {"k":null}]}
            {"label":"alpha","text":"second","id":17,"price":1.50}

            {"id":"x3","text":"third","label":null}

            """, labelled, blockSize: 2)
        #expect(data.index.classNames == ["alpha", "beta"])
        #expect(data.index.labelledRows == 2)
        #expect(data.index.plan == BlockPlan(samples: 3, blockSize: 2))
        let read = try data.readAll()
        #expect(read.samples.samples.map(\.id) == ["x1", "17", "x3"])
        #expect(read.samples.samples.map(\.text) == ["first", "second", "third"])
        #expect(read.gold.labels == [1, 0, GoldBlock.unknown])
        #expect(read.samples.samples[0].metadata == [MetadataEntry("lang", "en"), MetadataEntry("n", "[1, {\"k\":null}]", isJSON: true)])
        #expect(read.samples.samples[1].metadata("price") == "1.50")
    }

    /// The gold label must not reach labeling functions by any way.
    @Test func labelIsNeverMetadata() throws {
        let nested = DatasetFormat.jsonl(.init(text: "body.text", label: "meta.gold"))
        let data = try Indexed(
            "n.jsonl", #"{"body":{"text":"hello","title":"t"},"meta":{"gold":"yes","who":"me"}}"# + "\n", nested)
        let read = try data.readAll()
        #expect(
            read.samples.samples == [
                Sample(id: "n-000001", text: "hello", metadata: [MetadataEntry("body.title", "t"), MetadataEntry("meta.who", "me")])
            ])
        #expect(data.index.classNames == ["yes"])
        #expect(!String(decoding: read.samples.encode(), as: UTF8.self).contains("yes"))
    }

    /// Every well-formed line gives what Foundation's decoder gives.
    @Test(arguments: [
        #"plain"#, #"a \"quoted\" \\ and \/ slash"#, #"tab\tnew\nline\r\b\f"#, #"\u00e9\u4e2d\uD83D\uDE00"#, "é中😀 raw", #"\u0000nul"#,
        #"mixed é \u00e9"#,
    ])
    func stringsAgreeWithFoundation(_ body: String) throws {
        let line = "{\"text\":\"x \(body)\"}"
        let expected = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
        let data = try Indexed("s.jsonl", line, .jsonl())
        #expect(try data.readAll().samples.samples[0].text == expected["text"])
    }

    @Test(arguments: [
        (#"{"text":"a"#, "dataset.bad-row"), (#"{"text":"a"} x"#, "dataset.bad-row"), (#"["text"]"#, "dataset.bad-row"),
        (#"{"text":"\q"}"#, "dataset.bad-row"), (#"{"text":"\u12g4"}"#, "dataset.bad-row"), (#"{"text":"\uD83D"}"#, "dataset.bad-row"),
        (#"{"text":"\uD83Dx"}"#, "dataset.bad-row"), (#"{"text":"\uDE00"}"#, "dataset.bad-row"),
        (#"{"text":"a","n":01}"#, "dataset.bad-row"),
        (#"{"text":"a","n":1.}"#, "dataset.bad-row"), (#"{"text":"a","n":-}"#, "dataset.bad-row"),
        (#"{"text":"a","n":1e}"#, "dataset.bad-row"),
        (#"{"text":"a","n":tru}"#, "dataset.bad-row"), (#"{"text":"a","n":nul"#, "dataset.bad-row"), (#"{"text":"a",}"#, "dataset.bad-row"),
        (#"{"text" "a"}"#, "dataset.bad-row"), (#"{"other":"a"}"#, "dataset.bad-row"), (#"{"text":7}"#, "dataset.bad-row"),
        (#"{"text":["a"]}"#, "dataset.bad-row"), (#"{"text":"a","text":"b"}"#, "dataset.bad-row"),
        ("{\"text\":\"a\tb\"}", "dataset.bad-row"),
        (#"{"text":"  "}"#, "dataset.empty-text"), (#"{"text":null}"#, "dataset.empty-text"), (#"{"text":"a\"#, "dataset.bad-row"),
        ("{\"text\":\"a\",\"n\":" + String(repeating: "[", count: 100_000), "dataset.bad-row"),
        (#"{"text":"a\u00"}"#, "dataset.bad-row"), ("{", "dataset.bad-row"), (#"{"text":"#, "dataset.bad-row"),
    ])
    func malformedLinesAreSetAside(_ line: String, _ code: String) throws {
        let data = try Indexed("bad.jsonl", "{\"text\":\"before\"}\n\(line)\n{\"text\":\"after\"}\n", .jsonl())
        let read = try data.readAll()
        #expect(read.samples.samples.map(\.text) == ["before", "", "after"])
        #expect(read.samples.quarantined.map(\.code) == [code])
        #expect(read.samples.quarantined.map(\.place) == ["bad.jsonl:2"])
        #expect(data.index.quarantine == [.init(code: code, rows: 1)])
        #expect(data.index.quarantineExamples == read.samples.quarantined)
        #expect(read.samples.masked(alsoMasked: [2, 7]) == [false, true, true])
    }

    @Test func bytesThatAreNotUTF8AreSetAside() throws {
        let bytes = Array(#"{"text":"ok"}"#.utf8) + [0x0A] + Array(#"{"text":""#.utf8) + [0xC3, 0x28] + Array("\"}\n".utf8)
        let read = try Indexed("u.jsonl", bytes, .jsonl()).readAll()
        #expect(read.samples.quarantined.map(\.code) == ["dataset.not-utf8"])
    }

    @Test func laterRowsWithTheSameIDAreSetAside() throws {
        let rows = ["a", "b", "a", "c", "b", "a"].enumerated().map { #"{"id":"\#($1)","text":"row \#($0)","label":"l\#($0 % 2)"}"# }
        let data = try Indexed("d.jsonl", rows.joined(separator: "\n"), labelled, blockSize: 2)
        #expect(data.index.duplicates == [2, 4, 5])
        let read = try data.readAll()
        #expect(read.samples.samples.map(\.text) == ["row 0", "row 1", "", "row 3", "", ""])
        #expect(read.samples.quarantined.map(\.code) == ["dataset.duplicate-id", "dataset.duplicate-id", "dataset.duplicate-id"])
        #expect(Set(read.samples.samples.map(\.id)).count == 6)
        #expect(read.gold.labels == [0, 1, -1, 1, -1, -1])
    }

    @Test func missingIDsAndUnknownLabelsAreSetAside() throws {
        let text =
            #"{"text":"no id","label":"a"}"# + "\n" + #"{"id":"2","text":"t","label":"z"}"# + "\n" + #"{"id":"3","text":"t","label":"b"}"#
        let data = try Indexed("m.jsonl", text, labelled, classNames: ["b", "a"])
        #expect(data.index.classNames == ["b", "a"])
        let read = try data.readAll()
        #expect(read.samples.quarantined.map(\.code) == ["dataset.bad-row", "dataset.unknown-label"])
        #expect(read.gold.labels == [-1, -1, 0])
    }

    @Test func choosesSplitsByAField() throws {
        let rows = (0..<10).map { #"{"text":"row \#($0)","split":"\#($0 % 3 == 0 ? "test" : "pool")","label":"c\#($0)"}"# }
        let text = rows.joined(separator: "\n") + "\nbroken\n"
        let fields = DatasetFormat.Fields(text: "text", label: "label", split: "split")
        let pool = try Indexed("s.jsonl", text, .jsonl(fields, splits: ["pool"]), blockSize: 4)
        let read = try pool.readAll()
        #expect(
            read.samples.samples.map(\.id) == [
                "s-000002", "s-000003", "s-000005", "s-000006", "s-000008", "s-000009", "quarantined-000006",
            ])
        let test = try Indexed("s.jsonl", text, .jsonl(fields, splits: ["test"]), blockSize: 4)
        #expect(try test.readAll().samples.samples.count == 5)
    }

    @Test func classesThatAreNumbersSortByValue() throws {
        let text = [10, 9, 2].map { #"{"text":"t","label":\#($0)}"# }.joined(separator: "\r\n")
        #expect(try Indexed("n.jsonl", text, .jsonl(.init(label: "label"))).index.classNames == ["2", "9", "10"])
    }

    @Test func emptyAndUselessFilesAreRefused() throws {
        #expect(failure { try Indexed("e.jsonl", "", .jsonl()) }?.code == "dataset.empty")
        #expect(failure { try Indexed("e.jsonl", "\n \n", .jsonl()) }?.code == "dataset.empty")
        let useless = failure { try Indexed("e.jsonl", #"{"txt":"a"}"#, .jsonl()) }
        #expect(useless?.code == "dataset.no-usable-row")
        #expect(useless?.message.contains("'text' is missing") == true)
        #expect(
            failure { try DatasetSource.prepare("/nowhere/x.jsonl", format: .jsonl(), scratch: "/nowhere") }?.code == "dataset.missing-file"
        )
    }

    @Test func aSourceThatChangedIsNoticed() throws {
        let data = try Indexed("c.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n", .jsonl())
        try data.scratch.write("c.jsonl", "{\"text\":\"one\"}\n")
        #expect(failure { try data.index.readBlock(0, from: MappedFile(data.source.path)) }?.code == "dataset.changed")
        #expect(failure { try data.index.readBlock(0, segments: [Array("{\"text\":\"one\"}".utf8)]) }?.code == "dataset.changed")
    }

    @Test func indexTravelsAsCanonicalJSON() throws {
        let data = try Indexed("t.jsonl", #"{"text":"a","label":"x/y"}"#, .jsonl(.init(label: "label")))
        #expect(try DatasetIndex(decoding: data.index.encode()) == data.index)
        #expect(String(decoding: data.index.encode(), as: UTF8.self).contains("x/y"))
        #expect(failure { try DatasetIndex(decoding: [1, 2]) }?.code == "artifact.damaged")
    }
}
