import Foundation
import Testing

/// Coverage, overlaps and conflicts while a run goes on.
@Suite(.serialized) struct LabelingFunctionViewTests {
    private struct Table: Decodable {
        struct Row: Decodable, Equatable {
            var name: String
            var coverage: Double
            var overlaps: Double
            var conflicts: Double
            enum CodingKeys: String, CodingKey { case name, function, coverage, overlaps, conflicts }
            init(from decoder: any Decoder) throws {
                let fields = try decoder.container(keyedBy: CodingKeys.self)
                name = try fields.decodeIfPresent(String.self, forKey: .name) ?? fields.decode(String.self, forKey: .function)
                coverage = try fields.decode(Double.self, forKey: .coverage)
                overlaps = try fields.decode(Double.self, forKey: .overlaps)
                conflicts = try fields.decode(Double.self, forKey: .conflicts)
            }
        }
        var blocks: Int?
        var blockCount: Int?
        var samples: Int
        var coverage: Double
        var overlap: Double
        var conflict: Double
        var functions: [Row]
    }
    private struct Status: Decodable { var labelingFunctions: [Table]? }

    @Test func statusShowsTheTableSoFar() throws {
        let programs = try Programs("lf-view")
        defer { programs.remove() }
        #expect(
            try programs.run("amaf", ["sample", "generate", "--samples", "6000", "--classes", "4", "--text-only", "--output", "data"])
                .status
                == 0)
        let functions = """
            functions:
              - {name: overlap, kind: class-name-overlap, threshold: 0.5}
              - {name: please, kind: regex, class: book_flight, pattern: '(?i)please'}
              - {name: number, kind: regex, class: book_flight, pattern: '[0-9]'}
              - {name: slow, kind: command, command: [cat], classes: [book_flight]}
            """
        let rows = try String(contentsOfFile: "\(programs.folder)/data/samples.jsonl", encoding: .utf8).split(separator: "\n")
        let first = try #require(try JSONSerialization.jsonObject(with: Data((rows.first ?? "").utf8)) as? [String: Any])
        let label = try #require(first["label"] as? String)
        // `cat` answers with the sample itself, which is no vote: every sample is a fault.
        try Data(functions.replacing("book_flight", with: label).utf8).write(to: URL(fileURLWithPath: "\(programs.folder)/f.yaml"))
        try Data(
            """
            name: live
            dataset: {format: jsonl, path: data/samples.jsonl, fields: {id: id, text: text, label: label}}
            block-size: 64
            labeling-functions: f.yaml
            review: {mode: none}
            """.utf8
        ).write(to: URL(fileURLWithPath: "\(programs.folder)/job.yaml"))
        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let run = try cluster.submit("job.yaml")
        func table() throws -> Table? {
            let (status, text) = try programs.run("amaf", ["status", run, "--json"], environment: cluster.environment)
            #expect(status == 0, "\(text)")
            return try JSONDecoder().decode(Status.self, from: Data(text.utf8)).labelingFunctions?.first
        }
        #expect(try table() == nil, "nobody has worked yet")
        try cluster.startWorker(nil, ["--allow-exec"])
        var partial: Table?
        let end = Date(timeIntervalSinceNow: 180)
        while partial == nil, Date() < end { partial = try table() }
        let early = try #require(partial)
        #expect(early.blocks ?? 0 > 0 && early.samples <= 6000 && early.functions.count == 4)
        #expect(try cluster.wait(run, share: 1)?.state == "succeeded")
        let whole = try #require(try table())
        #expect(whole.blocks == whole.blockCount && whole.samples == 6000)
        // The same table without a cluster.
        let (status, text) = try programs.run(
            "amaf", ["lf", "analyze", "f.yaml", "--data", "data/samples.jsonl", "--sample", "0", "--allow-exec", "--json"])
        #expect(status == 0, "\(text)")
        let local = try JSONDecoder().decode(Table.self, from: Data(text.utf8))
        func byName(_ rows: [Table.Row]) -> [Table.Row] { rows.sorted { $0.name < $1.name } }
        #expect(byName(whole.functions) == byName(local.functions))
        #expect(whole.coverage == local.coverage && whole.overlap == local.overlap && whole.conflict == local.conflict)
        let shown = try programs.run("amaf", ["status", run], environment: cluster.environment).output
        #expect(shown.contains("labeling functions over \(whole.blocks ?? 0) of \(whole.blockCount ?? 0) blocks"), "\(shown)")
    }

    /// The stages of a fit in rounds, planned, leased and joined again: the labels are those of the fit in one task.
    @Test func aFitInRoundsGivesTheSameLabels() throws {
        let programs = try Programs("lf-rounds")
        defer { programs.remove() }
        #expect(
            try programs.run("amaf", ["sample", "generate", "--samples", "1000", "--classes", "3", "--text-only", "--output", "data"])
                .status
                == 0)
        try Data(
            "functions:\n  - {name: overlap, kind: class-name-overlap}\n  - {name: loose, kind: class-name-overlap, threshold: 0.3}\n".utf8
        ).write(to: URL(fileURLWithPath: "\(programs.folder)/f.yaml"))
        var labels: [Data] = []
        for (number, model) in ["log-linear", "{model: log-linear, rounds: 40}"].enumerated() {
            try Data(
                """
                name: rounds
                dataset: {format: jsonl, path: data/samples.jsonl, fields: {id: id, text: text, label: label}}
                block-size: 256
                labeling-functions: f.yaml
                label-model: \(model)
                review: {mode: none}
                """.utf8
            ).write(to: URL(fileURLWithPath: "\(programs.folder)/job.yaml"))
            let (status, output) = try programs.run("amaf", ["run", "job.yaml", "--workers", "1", "--output", "out-\(number)", "--quiet"])
            #expect(status == 0, "\(output)")
            labels.append(try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/out-\(number)/labels.jsonl")))
        }
        #expect(labels[0].count > 10_000 && labels[0] == labels[1])
    }
}
