import Foundation
import Testing

/// Commands as a user meets them: exit codes and one-line errors.
@Suite(.serialized) struct CommandTests {
    @Test func badInputIsOneLineWithCodePlaceAndRemedy() throws {
        let programs = try Programs("commands")
        defer { programs.remove() }
        let good = try programs.pipeline(samples: 200)
        let text = try String(contentsOfFile: good, encoding: .utf8)
        let cases: [(name: String, yaml: String, code: String)] = [
            ("broken", "name: [x\n", "manifest."),
            ("unknown-key", text + "colour: red\n", "manifest.unknown-key"),
            ("unknown-stage", text + "stages: {no-such-stage: {}}\n", "manifest.unknown-stage"),
            ("cycle", text + "stages: {ingest: {after: [export]}}\n", "manifest.cyclic-stages"),
            (
                "missing-file", text.replacing("dataset:\n  generate: {samples: 200, classes: 10, seed: 3}", with: "dataset: nowhere.yaml"),
                "manifest."
            ),
            (
                "empty-data",
                text.replacing(
                    "  generate: {samples: 200, classes: 10, seed: 3}",
                    with: "  format: jsonl\n  path: empty.jsonl\n  fields: {label: label}"),
                "dataset."
            ),
            (
                "regex", text + "labeling-functions: functions.yaml\n", "labeling-function"
            ),
        ]
        try Data().write(to: URL(fileURLWithPath: "\(programs.folder)/empty.jsonl"))
        try Data("functions:\n  - name: broken\n    kind: regex\n    class: nothing\n    pattern: '(unclosed'\n".utf8)
            .write(to: URL(fileURLWithPath: "\(programs.folder)/functions.yaml"))
        for (name, yaml, code) in cases {
            let path = "\(programs.folder)/\(name).yaml"
            try Data(yaml.utf8).write(to: URL(fileURLWithPath: path))
            let (status, output) = try programs.run("amaf", ["check", path])
            let lines = output.split(separator: "\n")
            #expect(status == 1, "\(name): \(output)")
            #expect(lines.count == 1, "\(name): \(output)")
            if name != "regex" { #expect(output.contains("[\(code)"), "\(name): \(output)") }
        }
        #expect(try programs.run("amaf", ["no-such-command"]).status == 64)
        #expect(try programs.run("amaf-worker", ["--tags", "gpu"], environment: ["AMAF_JOIN_KEY": "0123456789abcdef"]).status == 1)
    }

    @Test func peopleAnswerThroughAFile() throws {
        let programs = try Programs("people")
        defer { programs.remove() }
        let folder = "\(programs.folder)/texts"
        #expect(
            try programs.run("amaf", ["sample", "generate", "--samples", "300", "--classes", "4", "--text-only", "--output", "data"]).status
                == 0)
        // Unlabelled lines of text and, kept apart, the truth that our stand-in for a person looks at.
        let rows = try String(contentsOfFile: "\(programs.folder)/data/samples.jsonl", encoding: .utf8).split(separator: "\n")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var truth: [String: String] = [:]
        for (number, row) in rows.enumerated() {
            let object = try #require(try JSONSerialization.jsonObject(with: Data(row.utf8)) as? [String: Any])
            let name = "text-\(String(number + 10_000)).txt"
            truth[name] = try #require(object["label"] as? String)
            try Data(try #require(object["text"] as? String).utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
        }
        let classes = Set(truth.values).sorted().joined(separator: ",")
        #expect(try programs.run("amaf", ["init", folder, "--classes", classes, "--output", "mine.yaml"]).status == 0)
        let check = try programs.run("amaf", ["check", "mine.yaml"])
        #expect(check.status == 0, "\(check.output)")
        var (status, output) = try programs.run("amaf", ["run", "mine.yaml", "--output", "out", "--quiet"])
        var rounds = 0
        while status == 3 && rounds < 12 {
            rounds += 1
            let file = try #require(
                output.split(separator: "\n").compactMap { $0.split(separator: " ").last { $0.hasSuffix(".csv") } }.first.map(String.init))
            let path = file.hasPrefix("/") ? file : "\(programs.folder)/\(file)"
            let lines = try String(contentsOfFile: path, encoding: .utf8).replacing("\r\n", with: "\n").split(separator: "\n").map(
                String.init)
            var filled = [lines[0]]
            for line in lines.dropFirst() {
                let id = String(line.prefix { $0 != "," })
                filled.append(line + (try #require(truth[id] ?? truth["texts/" + id])))
            }
            try Data((filled.joined(separator: "\r\n") + "\r\n").utf8).write(to: URL(fileURLWithPath: path))
            (status, output) = try programs.run("amaf", ["review", "import", path, "--output", "out", "--quiet"])
        }
        #expect(status == 0, "\(output)")
        #expect(rounds >= 1)
        let labels = try String(contentsOfFile: "\(programs.folder)/out/labels.jsonl", encoding: .utf8).split(separator: "\n")
        #expect(labels.count == 300)
        let right = labels.count { line in
            guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], let id = object["id"] as? String
            else { return false }
            return object["label"] as? String == truth[id] ?? truth["texts/" + id]
        }
        // Four classes: chance is 75.
        #expect(right > 240, "\(right) of 300 labels are right")
        let report = try String(contentsOfFile: "\(programs.folder)/out/report.md", encoding: .utf8)
        #expect(report.contains("greement") || !report.contains("accuracy of"))
    }
}
