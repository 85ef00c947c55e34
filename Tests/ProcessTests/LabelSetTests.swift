import Foundation
import Testing

/// Several labels an image, from the table to labels.jsonl, by the real programs.
@Suite(.serialized) struct LabelSetTests {
    private static let pipeline = """
        name: chexpert-fixture
        dataset:
          format: chexpert
          path: CheXpert-v1.0-small
          observations: all
          uncertain: ones
          splits: {pool: train, test: valid}
        block-size: 32
        features: {images: {parts: [pixels], side: 24, components: 30}}
        acquisition: margin
        control: random
        review: {mode: simulated, budget: 90, initial: 20, rounds: 2}
        seeds: [1]

        """

    private struct Line: Decodable {
        struct Cell: Decodable {
            var value: Bool?
            var confidence: Double
            var sources: [String]
        }
        var id: String
        var labels: [String: Cell]
    }

    @Test func fourteenLabelsInOneRun() throws {
        let programs = try Programs("label-sets")
        defer { programs.remove() }
        let fixture = try ChexpertFixture(in: programs.folder, train: 200, valid: 60, seed: 4)
        try Data(Self.pipeline.utf8).write(to: URL(fileURLWithPath: "\(programs.folder)/job.yaml"))
        let (status, output) = try programs.run("amaf", ["run", "job.yaml", "--output", "out", "--quiet", "--workers", "2"])
        #expect(status == 0, "\(output)")
        let text = try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/out/labels.jsonl"))
        let lines = try text.split(separator: 10).map { try JSONDecoder().decode(Line.self, from: Data($0)) }
        #expect(lines.count == fixture.rows.count)

        // What the table is sure of must be told; what it is not sure of is judged here by the squares alone.
        var (known, knownRight, open, openRight) = (0, 0, 0, 0)
        for (line, path) in zip(lines, fixture.rows) {
            #expect(Set(line.labels.keys) == Set(fixture.names))
            guard let truth = fixture.truth[path], let cells = fixture.cells[path] else {
                #expect(line.labels.values.allSatisfy { $0.value == nil && $0.confidence == 0 && $0.sources.isEmpty }, "\(path)")
                continue
            }
            #expect(line.id == path)
            for (label, name) in fixture.names.enumerated() {
                let cell = try #require(line.labels[name])
                let isRight = cell.value == truth[label] ? 1 : 0
                #expect(cell.value != nil && cell.confidence >= 0.5)
                if cells[label].hasSuffix("1.0") || cells[label] == "0.0", !cells[label].hasPrefix("-") {
                    known += 1
                    knownRight += isRight
                } else if cells[label].isEmpty {
                    open += 1
                    openRight += isRight
                    #expect(!cell.sources.contains("human"), "nobody can have answered a blank cell")
                }
            }
        }
        #expect(Double(knownRight) / Double(known) > 0.8, "\(knownRight) of \(known)")
        #expect(Double(openRight) / Double(open) > 0.7, "\(openRight) of \(open)")

        // The report judges plain cells only.
        let run = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/out/run.json")))
                as? [String: Any])
        let arms = try #require(run["labelSets"] as? [[String: Any]])
        #expect(arms.map { $0["title"] as? String } == ["margin", "random", "all gold of the pool"])
        let score = try #require(arms[0]["score"] as? [String: Any])
        let labels = try #require(score["labels"] as? [[String: Any]])
        func sum(_ key: String) -> Int { labels.reduce(0) { $0 + ($1[key] as? Int ?? 0) } }
        #expect(sum("known") == known && sum("right") == knownRight && score["samples"] as? Int == 200)
        #expect(sum("taken") == fixture.cells.values.joined().count { $0 == "-1.0" }, "uncertain cells teach and are counted apart")
        #expect(labels.allSatisfy { ($0["test"] as? [String: Any])?["areaInterval"] != nil })
        let areas = labels.compactMap { ($0["test"] as? [String: Any])?["area"] as? Double }
        #expect(areas.count == 14 && areas.reduce(0, +) / 14 > 0.8, "\(areas)")
        let report = try String(contentsOfFile: "\(programs.folder)/out/report.md", encoding: .utf8)
        #expect(report.contains("image.missing-file") && report.contains("Enlarged Cardiomediastinum") && report.contains("Each label"))

        // The same labels for another number of workers.
        #expect(try programs.run("amaf", ["run", "job.yaml", "--output", "alone", "--quiet", "--workers", "1"]).status == 0)
        #expect(try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/alone/labels.jsonl")) == text)

        let path = fixture.rows[3]
        let why = try programs.run("amaf", ["explain", path, "--output", "out", "--json"])
        struct Explanation: Decodable {
            struct Label: Decodable {
                var label: String
                var value: Bool
                var classifier: Double
                var answers: [Bool]
            }
            var labels: [Label]
        }
        let explained = try JSONDecoder().decode(Explanation.self, from: Data(why.output.utf8)).labels
        #expect(explained.map(\.label) == fixture.names, "\(why.output)")
        for label in explained {
            #expect(lines[3].labels[label.label]?.value == label.value)
            #expect(label.value == label.answers.last ?? (label.classifier > 0.5), "an answer stands, else the classifier's side is taken")
        }

        // Audited as it lies there, and as a plain CSV.
        let audit = try programs.run("amaf", ["audit", "bias", "out", "--by", "Sex,AP/PA", "--by", "Age=50", "--label", "Edema,Fracture"])
        #expect(audit.status == 0 && audit.output.contains("Edema by Sex") && audit.output.contains("50 and above"), "\(audit.output)")
        let table = try programs.run(
            "amaf",
            [
                "audit", "bias", "out/labels.csv", "--gold", "CheXpert-v1.0-small/train.csv", "--id", "Path", "--by", "Sex", "--label",
                "Edema",
            ])
        #expect(table.status == 0, "\(table.output)")
        let (whole, plain) = (audit.output.split(separator: "\n"), table.output.split(separator: "\n"))
        let female = plain.first { $0.contains("Female") }
        #expect(female != nil && whole.contains { $0 == female ?? "" }, "both ways count the same samples\n\(table.output)")
        #expect(try programs.run("amaf", ["audit", "bias", "out", "--by", "Weight"]).output.contains("[audit.no-column]"))
    }

    @Test func peopleAnswerAllLabelsOfAnImageAtOnce() throws {
        let programs = try Programs("label-people")
        defer { programs.remove() }
        let fixture = try ChexpertFixture(in: programs.folder, train: 60, valid: 0, seed: 5)
        let text = Self.pipeline.replacing("splits: {pool: train, test: valid}", with: "splits: {pool: train}")
            .replacing("observations: all", with: "observations: [Edema, Fracture]")
            .replacing(
                "control: random\nreview: {mode: simulated, budget: 90, initial: 20, rounds: 2}",
                with: "audit: 5\nreview: {mode: file, budget: 20, initial: 10, rounds: 1}")
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(programs.folder)/job.yaml"))
        var (status, output) = try programs.run("amaf", ["run", "job.yaml", "--output", "out", "--quiet"])
        var rounds = 0
        while status == 3 && rounds < 5 {
            rounds += 1
            let file = try #require(
                output.split(separator: "\n").compactMap { $0.split(separator: " ").last { $0.hasSuffix(".csv") } }.first.map(String.init))
            let path = "\(programs.folder)/\(file)"
            let questions = try String(contentsOfFile: path, encoding: .utf8).replacing("\r\n", with: "\n").split(separator: "\n").map(
                String.init)
            #expect(questions[0] == "id,image,text,suggestion,reason,Edema,Fracture")
            if rounds == 1 {
                // One wrong cell refuses the whole file.
                try Data((questions[0] + "\n" + questions[1].dropLast(1) + "maybe,0\n").utf8).write(to: URL(fileURLWithPath: path))
                let refused = try programs.run("amaf", ["review", "import", path, "--output", "out"])
                #expect(refused.status == 1 && refused.output.contains("[review.bad-value]"), "\(refused.output)")
            }
            let filled = try questions.dropFirst().enumerated().map { number, line -> String in
                let truth = try #require(fixture.truth[String(line.prefix { $0 != "," })])
                let values = [5, 12].map { truth[$0] ? "1" : "0" }
                // The reader of the third image cannot say whether there is a fracture.
                return line.dropLast(1) + values[0] + "," + (number == 2 ? "" : values[1])
            }
            try Data((([questions[0]] + filled).joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: path))
            (status, output) = try programs.run("amaf", ["review", "import", path, "--output", "out", "--quiet"])
        }
        #expect(status == 0 && rounds == 3, "\(rounds) rounds: \(output)")
        let labels = try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/out/labels.jsonl"))
        let lines = try labels.split(separator: 10).map { try JSONDecoder().decode(Line.self, from: Data($0)) }
        let answered = lines.compactMap { $0.labels["Edema"] }.count { $0.sources.contains("human") }
        let fractures = lines.compactMap { $0.labels["Fracture"] }.count { $0.sources.contains("human") }
        #expect(answered == 25 && fractures == 22, "\(answered) and \(fractures)")
        for (line, path) in zip(lines, fixture.rows) where line.labels["Edema"]?.sources.contains("human") ?? false {
            #expect(line.labels["Edema"]?.value == fixture.truth[path]?[5], "an answer stands")
        }
    }
}
