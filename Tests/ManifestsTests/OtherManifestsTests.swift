import Datasets
import Foundation
import Manifests
import Primitives
import Scheduling
import Testing
import WeakSupervision

@Suite struct DatasetManifestTests {
    private func load(_ text: String, _ files: [String: String] = ["a.csv": "x"]) throws -> DatasetManifest {
        let folder = try ManifestFolder(files)
        return try DatasetManifest.load(folder.write("d.yaml", text))
    }

    @Test func fieldsAndSplits() throws {
        let manifest = try load(
            """
            name: d
            format: csv
            path: a.csv
            delimiter: ";"
            fields: {id: key, text: body, label: stars, split: part}
            splits: {pool: [train, extra], test: test}
            out-of-scope: other
            classes: [good, bad]
            """)
        #expect(manifest.pool.fields == .init(id: "key", text: "body", label: "stars", split: "part"))
        #expect(manifest.pool.splits == ["train", "extra"] && manifest.test?.splits == ["test"])
        #expect(manifest.pool.delimiter == ";" && manifest.pool.outOfScopeLabel == "other" && manifest.classes == ["good", "bad"])
        #expect(manifest.hasGold)
    }

    @Test(arguments: [
        ("format: csv\npath: a.csv", "manifest.missing-key"), ("name: d\npath: a.csv", "manifest.missing-key"),
        ("name: d\nformat: csv", "manifest.missing-key"),
        ("name: d\nformat: csv\npath: b.csv", "manifest.missing-file"), ("name: d\nformat: cvs\npath: a.csv", "manifest.unknown-value"),
        ("name: d\nformat: csv\npath: a.csv\nfields: {txt: a}", "manifest.unknown-key"),
        ("name: d\nformat: csv\npath: a.csv\nfields: {text: a, label: a}", "manifest.duplicate-field"),
        ("name: d\nformat: csv\npath: a.csv\nsplits: {pool: x}", "manifest.no-split-field"),
        ("name: d\nformat: clinc150\npath: a.csv\nsplits: {pool: x, test: x}", "manifest.test-in-pool"),
        ("name: d\nformat: text-lines\npath: a.csv\nfields: {text: a}", "manifest.unused-key"),
        ("name: d\nformat: csv\npath: a.csv\nclasses: [a, a]", "manifest.duplicate-class"),
        ("name: d\nformat: csv\npath: a.csv\nclasses: [a]", "manifest.out-of-range"),
        ("name: d\nformat: csv\nurl: https://x/y", "manifest.missing-key"), ("name: d\nformat: csv\nurl: ftp://x/y", "manifest.bad-url"),
        ("name: d\nformat: csv\nurl: https://x/y\nsha256: abc", "manifest.bad-digest"),
        ("name: ../d\nformat: csv\nurl: https://x/y\nsha256: \(String(repeating: "a", count: 64))", "manifest.bad-name"),
        ("name: d\ngenerate: {samples: 0}", "manifest.out-of-range"),
        ("name: d\ngenerate: {samples: 5, classes: 151}", "manifest.out-of-range"),
    ])
    func mistakesAreNamed(_ text: String, _ code: String) throws {
        #expect(failure { try load(text) }?.code == code)
    }
}

@Suite struct LabelingFunctionFileTests {
    private func load(_ text: String) throws -> LabelingFunctionFile {
        let folder = try ManifestFolder(["terms.csv": "term,class\nparis,city\n\"a, b\",land\n"])
        return try LabelingFunctionFile.load(folder.write("f.yaml", text))
    }

    @Test func everyKindIsRead() throws {
        let file = try load(
            """
            gold-examples-used: 12
            functions:
              - {name: k, kind: keywords, class: pay, terms: [owe, bill]}
              - {name: r, kind: regex, class: pay, pattern: '\\bpay(ing)?\\b'}
              - {name: o, kind: class-name-overlap}
              - {name: s, kind: keyword-scores, classes: [{class: pay, terms: [owe]}]}
              - {name: d, kind: dictionary, entries: [{term: rent, class: pay}]}
              - {name: f, kind: dictionary, file: terms.csv}
            """)
        #expect(file.goldExamplesUsed == 12)
        #expect(file.specs.map(\.name) == ["k", "r", "o", "s", "d", "f"])
        #expect(file.specs.last?.classNames == ["city", "land"])
        #expect(file.entries[1].place.hasSuffix("f.yaml:4:5"))
        #expect(failure { try file.check(classNames: ["pay", "city"]) }?.code == "manifest.unknown-class")
        try file.check(classNames: ["pay", "city", "land"])
    }

    @Test(arguments: [
        ("functions: []", "manifest.missing-key", ""), ("functions: [7]", "manifest.wrong-type", "1:13"),
        ("function: []", "manifest.missing-key", ""),
        ("functions: [{name: a}]", "manifest.missing-key", ""),
        ("functions: [{name: a, kind: keyword, class: c, terms: [x]}]", "manifest.wrong-type", "1:23"),
        ("functions: [{name: a, kind: keywords, terms: [x]}]", "manifest.missing-key", "1:13"),
        ("functions: [{name: a, kind: keywords, class: c, terms: [x], weight: 3}]", "manifest.unknown-key", "1:61"),
        ("functions: [{name: a, kind: keywords, class: c, terms: {x: y}}]", "manifest.wrong-type", ""),
        ("functions: [{name: a, kind: class-name-overlap}, {name: a, kind: class-name-overlap}]", "manifest.duplicate-name", "1:50"),
        ("functions: [{name: a, kind: dictionary, file: no.csv}]", "manifest.missing-file", "1:47"),
        ("version: 2\nfunctions: [7]", "manifest.unknown-version", "1:10"),
    ])
    func mistakesAreNamed(_ text: String, _ code: String, _ place: String) throws {
        let error = failure { try load(text) }
        #expect(error?.code == code, "\(String(describing: error))")
        if !place.isEmpty { #expect(error?.place.hasSuffix("f.yaml:" + place) == true, "\(String(describing: error))") }
    }

    /// What compiling finds is told with the place in the file.
    @Test func invalidRegexIsPlaced() throws {
        let file = try load("functions:\n  - {name: bad, kind: regex, class: a, pattern: '(open'}\n")
        let error = failure { try LabelingFunctionSet(specs: file.specs, classNames: ["a", "b"]) }
        #expect(error.map { file.located($0).place.hasSuffix("f.yaml:2:5") } == true, "\(String(describing: error))")
    }
}

@Suite struct ClusterManifestTests {
    private func parse(_ text: String) throws -> ClusterManifest { try ClusterManifest.parse(text, path: "dir/c.yaml") }
    private let head = "name: c\ncoordinator: {control: tcp://127.0.0.1:7700, artifacts: tcp://127.0.0.1:7701, state-folder: state}\n"

    @Test func quantitiesAndPaths() throws {
        let cluster = try parse(
            head
                + "workers: [{name: w, tags: [gpu, cpu], slots: 3, memory-per-slot: 1.5 GiB, cache: 10 MiB}]\nscheduler: {lease-target: 500 ms, beat-interval: 1 s}\n"
        )
        #expect(cluster.stateFolder == "dir/state")
        #expect(
            cluster.workers == [
                .init(name: "w", count: 1, tags: ["cpu", "gpu"], slots: 3, memoryBytesPerSlot: 3 << 29, cacheBytes: 10 << 20)
            ])
        #expect(cluster.scheduler.leaseTarget == .milliseconds(500) && cluster.scheduler.beatInterval == .seconds(1))
    }

    @Test(arguments: [
        ("name: c", "manifest.missing-key"), ("name: c\ncoordinator: {control: tcp://h}", "manifest.bad-address"),
        ("name: c\ncoordinator: {control: tcp://127.0.0.1:1, artifacts: tcp://127.0.0.1:1}", "manifest.bad-address"),
        ("name: c\ncoordinator: {control: tcp://head:7700, artifacts: tcp://head:7701}", "manifest.insecure-address"),
        ("name: c\ncoordinator: {control: tls+tcp://head:7700, artifacts: tls+tcp://head:7701}", "manifest.no-tls-files"),
        ("name: c\ncoordinator: {control: http://head:7700, artifacts: tcp://head:7701}", "manifest.bad-address"),
        ("%workers: [{name: a}, {name: a}]", "manifest.duplicate-name"), ("%workers: [{name: a, slots: 0}]", "manifest.out-of-range"),
        ("%workers: [{name: a, tags: [GPU]}]", "manifest.bad-name"), ("%workers: [{name: a, cache: 5}]", "manifest.wrong-type"),
        ("%scheduler: {lease-time-to-live: 2 s}", "manifest.out-of-range"), ("%scheduler: {lease-target: 2}", "manifest.wrong-type"),
        ("%tls: {key: a}", "manifest.missing-key"), ("%worker: []", "manifest.unknown-key"),
    ])
    func mistakesAreNamed(_ text: String, _ code: String) throws {
        let whole = text.hasPrefix("%") ? head + text.dropFirst() : text
        #expect(failure { try parse(whole) }?.code == code)
    }

    @Test func openNetworksMustBeWrittenDown() throws {
        let open = "name: c\ncoordinator: {control: tcp://head:7700, artifacts: tcp://head:7701}\ninsecure: true\n"
        #expect(try parse(open).insecure)
    }
}

@Suite struct PipelineTemplateTests {
    @Test func aFolderOfTexts() throws {
        let folder = try ManifestFolder()
        for i in 0..<90 { try folder.write("letters/\(i % 2 == 0 ? "glad" : "angry")/\(i).txt", "letter \(i)") }
        let text = try PipelineTemplate.text(for: folder.path + "/letters", at: folder.path + "/letters.yaml")
        let manifest = try folder.pipeline(text)
        #expect(manifest.name == "letters" && manifest.review.mode == .file && manifest.dataset.pool == .textFolder)
        #expect(manifest.classNames == ["angry", "glad"])
        #expect(manifest.audit == .count(22) && manifest.control == nil && manifest.review.budget == .count(60))
        #expect(manifest.dataset.location == .local(folder.path + "/letters"))
    }

    @Test func foldersOfPictures() throws {
        let folder = try ManifestFolder()
        // Pictures are not decoded to be counted, and what lies beside them is passed over.
        for part in ["train", "test"] {
            for i in 0..<(part == "train" ? 40 : 10) {
                try folder.write("xrays/\(part)/\(i % 2 == 0 ? "sick" : "well")/\(i).png", "picture")
            }
        }
        try folder.write("xrays/README.md", "about")
        let text = try PipelineTemplate.text(for: folder.path + "/xrays", at: folder.path + "/p.yaml")
        let manifest = try folder.pipeline(text)
        #expect(manifest.dataset.pool.kind == .imageFolder && manifest.dataset.pool.splits == ["train"])
        #expect(manifest.dataset.test?.splits == ["test"])
        #expect(manifest.classNames == ["sick", "well"] && manifest.review.mode == .simulated)
        #expect(text.contains("# Found: 40 samples, 40 of them labelled."))
        for i in 0..<20 { try folder.write("photos/\(i).jpeg", "picture") }
        let plain = try folder.pipeline(
            PipelineTemplate.text(for: folder.path + "/photos", classes: ["cat", "dog"], at: folder.path + "/q.yaml"))
        #expect(plain.dataset.pool.kind == .imageFolder && plain.dataset.pool.splits.isEmpty && plain.review.mode == .file)
    }

    @Test func classesThatNobodyNamesAreATask() throws {
        let folder = try ManifestFolder(["notes/a.txt": "one", "notes/b.txt": "two", "notes/c.txt": "three"])
        let open = try PipelineTemplate.text(for: folder.path + "/notes", at: folder.path + "/p.yaml")
        #expect(failure { try folder.pipeline(open) }?.code == "manifest.todo")
        let named = try PipelineTemplate.text(for: folder.path + "/notes", classes: ["yes: no", "it's \"b\""], at: folder.path + "/p.yaml")
        #expect(try folder.pipeline(named).classNames == ["yes: no", "it's \"b\""])
    }

    @Test func aLabelledTable() throws {
        let rows = (0..<50).map { "\($0);\"the text; of row \($0)\";\($0 % 3);x" }
        let folder = try ManifestFolder(["sub/my data.csv": "ID;Comment;Category;note\n" + rows.joined(separator: "\n")])
        let text = try PipelineTemplate.text(for: folder.path + "/sub/my data.csv", at: folder.path + "/p.yaml")
        let manifest = try folder.pipeline(text)
        #expect(manifest.dataset.pool == .csv(.init(id: "ID", text: "Comment", label: "Category"), delimiter: ";"))
        #expect(manifest.classNames == ["0", "1", "2"] && manifest.review.mode == .simulated && manifest.name == "my-data")
    }

    @Test func linesOfObjects() throws {
        let rows = (0..<30).map { #"{"key": "k\#($0)", "story": "a longer story number \#($0)", "who": "x"}"# }
        let folder = try ManifestFolder(["d.jsonl": rows.joined(separator: "\n")])
        let text = try PipelineTemplate.text(for: folder.path + "/d.jsonl", classes: ["a", "b"], at: folder.path + "/p.yaml")
        let manifest = try folder.pipeline(text)
        #expect(manifest.dataset.pool == .jsonl(.init(id: "key", text: "story")))
        #expect(manifest.review.mode == .file && text.contains("# Kept as metadata: \"who\""))
    }

    @Test func whatCannotBeGuessed() throws {
        let folder = try ManifestFolder(["a.parquet": "x", "e.csv": "", "n.csv": "a,b\n,\n", "j.jsonl": "no\n", "empty/x.bin": "x"])
        func code(_ name: String) -> String? { failure { try PipelineTemplate.text(for: folder.path + "/" + name, at: "p.yaml") }?.code }
        #expect(code("a.parquet") == "init.unknown-format" && code("none") == "dataset.missing-file" && code("e.csv") == "dataset.empty")
        #expect(code("n.csv") == "init.no-text" && code("j.jsonl") == "init.unknown-format" && code("empty") == "dataset.empty")
    }
}
