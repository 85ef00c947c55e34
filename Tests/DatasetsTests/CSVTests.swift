import Datasets
import Primitives
import Testing

@Suite struct CSVTests {
    private let format = DatasetFormat.csv(.init(id: "id", text: "text", label: "class"))

    @Test func quotesDelimitersAndLineBreaks() throws {
        let text = "\u{FEFF}id,text,class,note\r\n1,\"a, b\",x,\r\n2,\"line one\nline two\",y,\"say \"\"hi\"\"\"\r\n\r\n3,plain,x,n"
        let data = try Indexed("q.csv", text, format, blockSize: 2)
        #expect(data.index.columns == ["id", "text", "class", "note"])
        let read = try data.readAll()
        #expect(read.samples.samples.map(\.text) == ["a, b", "line one\nline two", "plain"])
        #expect(read.samples.samples.map { $0.metadata("note") } == ["", "say \"hi\"", "n"])
        #expect(read.gold.labels == [0, 1, 0])
        #expect(read.samples.quarantined.isEmpty)
    }

    @Test func rowsOfTheWrongShapeAreSetAsideAlone() throws {
        let text = """
            id,text,class
            1,good,x
            2,too few
            3,too,many,columns
            4,"stray" quote,x
            5,good,y
            6,"never closed,x
            7,good,x
            8,,x
            9,good,
            """
        let read = try Indexed("w.csv", text, format, blockSize: 3).readAll()
        #expect(read.samples.samples.map(\.text) == ["good", "", "", "", "good", "", "good", "", "good"])
        #expect(
            read.samples.quarantined.map(\.code) == [
                "dataset.column-count", "dataset.column-count", "dataset.bad-row", "dataset.bad-row", "dataset.empty-text",
            ])
        #expect(read.samples.quarantined.map(\.place) == ["w.csv:3", "w.csv:4", "w.csv:5", "w.csv:7", "w.csv:9"])
        #expect(read.gold.labels == [0, -1, -1, -1, 1, -1, 0, -1, -1])
    }

    @Test func linesAreCountedThroughQuotedBreaks() throws {
        let read = try Indexed("l.csv", "text\n\"a\nb\nc\"\nx,y\n", .csv(), blockSize: 1).readAll()
        #expect(read.samples.quarantined.map(\.place) == ["l.csv:5"])
    }

    @Test func otherDelimiters() throws {
        #expect(
            try Indexed("t.csv", "a\ttext\n1\tx,y\n", .csv(.init(id: "a"), delimiter: "\\t")).readAll().samples.samples[0].text == "x,y")
        #expect(failure { try Indexed("t.csv", "text\nx\n", .csv(delimiter: "ab")) }?.code == "dataset.bad-delimiter")
    }

    @Test func headersAreChecked() throws {
        let missing = failure { try Indexed("h.csv", "id,body,class\n1,a,x\n", format) }
        #expect(missing?.code == "dataset.missing-column")
        #expect(missing?.place == "h.csv:1")
        #expect(failure { try Indexed("h.csv", "id,text,text,class\n1,a,b,x\n", format) }?.code == "dataset.duplicate-column")
        #expect(failure { try Indexed("h.csv", "\n\n", format) }?.code == "dataset.empty")
        #expect(failure { try Indexed("h.csv", "id,text,class\n", format) }?.code == "dataset.empty")
    }

    /// Random tables, written with all the quoting there is and read back.
    @Test func randomTablesSurvive() throws {
        var random = SeededGenerator(seed: 20)
        let alphabet = ["a", "é", ",", "\"", "\n", " ", "\r\n", "x"]
        var texts: [String] = []
        var csv = "text,class\n"
        for _ in 0..<300 {
            let text = "t" + (0..<random.index(below: 9)).map { _ in alphabet[random.index(below: alphabet.count)] }.joined()
            texts.append(text)
            csv += "\"\(text.replacing("\"", with: "\"\""))\",c\(random.index(below: 3))\n"
        }
        let read = try Indexed("r.csv", csv, .csv(.init(text: "text", label: "class")), blockSize: 16).readAll()
        #expect(read.samples.samples.map(\.text) == texts)
    }
}
