import Foundation
import Manifests
import Primitives
import Testing
import WeakSupervision

/// Kinds that name files: what is read when a file of functions is loaded, and what is said when it cannot be.
@Suite struct LabelingFunctionKindsTests {
    private func folder(_ files: [String: String]) throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "amaf-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (name, text) in files { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)")) }
        return path
    }

    @Test func aModuleBecomesItsFunctions() throws {
        let module = """
            from snorkel.labeling import labeling_function

            @labeling_function()
            def first(x):
                return 1

            def helper(x):
                return 0

            @labeling_function(name="second one", resources=dict(a=1))
            def second(x, a):
                return -1
            """
        let path = try folder([
            "lfs.py": module, "f.yaml": "functions:\n  - {name: py, kind: snorkel, module: lfs.py, classes: [ham, spam]}\n",
        ])
        defer { try? FileManager.default.removeItem(atPath: path) }
        let file = try LabelingFunctionFile.load("\(path)/f.yaml")
        #expect(file.specs.map(\.name) == ["py/first", "py/second one"])
        #expect(file.specs.allSatisfy { $0.needsExec && $0.kindName == "snorkel" && $0.classNames == ["ham", "spam"] })
        #expect(Set(file.specs.map(\.digest)).count == 2)
        // The same files elsewhere are the same functions; an edited module is another.
        let other = try folder([
            "lfs.py": module, "f.yaml": "functions:\n  - {name: py, kind: snorkel, module: lfs.py, classes: [ham, spam]}\n",
        ])
        defer { try? FileManager.default.removeItem(atPath: other) }
        #expect(try LabelingFunctionFile.load("\(other)/f.yaml").specs.map(\.digest) == file.specs.map(\.digest))
        try Data((module + "\n# edited\n").utf8).write(to: URL(fileURLWithPath: "\(other)/lfs.py"))
        #expect(try LabelingFunctionFile.load("\(other)/f.yaml").specs[0].digest != file.specs[0].digest)
    }

    @Test(arguments: [
        ("{name: a, kind: snorkel, module: none.py}", "labeling-function.missing-file"),
        ("{name: a, kind: snorkel, module: empty.py}", "labeling-function.no-functions"),
        ("{name: a, kind: model-prediction, predictions: none.csv}", "labeling-function.missing-file"),
        ("{name: a, kind: threshold, class: x, field: t}", "manifest.wrong-type"),
        ("{name: a, kind: llm-prompt}", "manifest.wrong-type"),
        ("{name: a, kind: command, command: [x], memory-mib: 1}", "manifest.wrong-type"),
    ])
    func mistakesAreNamedWithTheirLine(_ entry: String, code: String) throws {
        let path = try folder([
            "empty.py": "x = 1\n", "f.yaml": "functions:\n  - {name: b, kind: regex, class: x, pattern: y}\n  - \(entry)\n",
        ])
        defer { try? FileManager.default.removeItem(atPath: path) }
        let error = #expect(throws: AMAFError.self) { try LabelingFunctionFile.load("\(path)/f.yaml") }
        #expect(error?.code == code)
        #expect(error?.place.contains("f.yaml:3:") == true, "\(String(describing: error))")
        #expect(error?.remedy.isEmpty == false)
    }

    @Test func autoIsALabelModelInBothForms() throws {
        func kind(_ text: String) throws -> LabelModelKind {
            let path = try folder(["d.csv": "text,label\na,x\nb,y\n"])
            defer { try? FileManager.default.removeItem(atPath: path) }
            return try PipelineManifest.parse(
                "name: p\ndataset: {format: csv, path: d.csv, fields: {text: text, label: label}}\n\(text)\n", path: "\(path)/p.yaml"
            ).labelModel
        }
        #expect(try kind("label-model: auto") == .auto && kind("label-model: {model: auto}") == .auto)
        #expect(try kind("label-model: {model: map-em}") == .mapEM && kind("") == .logLinear)
        #expect(try kind("label-model: {model: map-em, rounds: 20}") == .mapEM)
        #expect(throws: AMAFError.self) { try kind("label-model: {modle: auto}") }
        #expect(throws: AMAFError.self) { try kind("label-model: best") }
    }

    /// `animal` and below it `dog` (also a person in its third meaning), `puppy` and an instance; `bank` has two meanings.
    private static let wordNet = ["index.noun", "data.noun"].reduce(into: [String: String]()) { files, name in
        // Offset, words, narrower synsets by position in this list.
        let synsets: [(words: [String], narrower: [Int])] = [
            (["animal", "beast"], [1, 3]), (["dog", "Canis_familiaris"], [2]), (["puppy"], []), (["Lassie"], []), (["person"], [5]),
            (["cad", "dog"], []), (["bank"], []), (["bank", "money_box"], []),
        ]
        let licence = "  1 This is not Princeton's text.\n"
        // Every line is of the same length, so that offsets are known before they are written.
        let length = 160
        func offset(_ i: Int) -> String { String(format: "%08d", licence.utf8.count + i * length) }
        if name == "data.noun" {
            files[name] =
                licence
                + synsets.enumerated().map { i, synset in
                    var line = "\(offset(i)) 05 n \(String(format: "%02x", synset.words.count)) "
                    line += synset.words.map { "\($0) 0 " }.joined() + String(format: "%03d ", synset.narrower.count + 1)
                    line += synset.narrower.map { "\($0 == 3 ? "~i" : "~") \(offset($0)) n 0000 " }.joined() + "+ 00000001 v 0000 | gloss"
                    return line.padding(toLength: length - 1, withPad: " ", startingAt: 0) + "\n"
                }.joined()
        } else {
            var senses: [String: [Int]] = [:]
            for (i, synset) in synsets.enumerated() { for word in synset.words { senses[word.lowercased(), default: []].append(i) } }
            files[name] =
                licence
                + senses.sorted { $0.key < $1.key }.map { word, list in
                    "\(word) n \(list.count) 2 @ ~ \(list.count) 0 \(list.map(offset).joined(separator: " "))  \n"
                }.joined()
        }
    }

    @Test func wordNetBecomesADictionary() throws {
        func entries(_ entry: String) throws -> [String] {
            let path = try folder(Self.wordNet.merging(["f.yaml": "functions:\n  - \(entry)\n"]) { $1 })
            defer { try? FileManager.default.removeItem(atPath: path) }
            guard case .dictionary(let rule) = try LabelingFunctionFile.load("\(path)/f.yaml").specs[0].kind else { return [] }
            return rule.entries.map { "\($0.term)=\($0.className)" }
        }
        #expect(
            try entries(
                "{name: w, kind: wordnet, folder: ., plurals: false, classes: [{class: animal}, {class: human, kinds-of: [person]}]}")
                == [
                    "animal=animal", "beast=animal", "canis familiaris=animal", "dog=animal", "lassie=animal", "puppy=animal", "cad=human",
                    "person=human",
                ])
        #expect(
            try entries(
                "{name: w, kind: wordnet, folder: ., classes: [{class: money, kinds-of: [bank.2], except: [bank]}], maximum-sense: 2}")
                == ["money box=money", "money boxes=money"])
        #expect(
            try entries(
                "{name: w, kind: wordnet, folder: ., maximum-sense: 2, plurals: false, classes: [{class: human, kinds-of: [person]}]}")
                == ["cad=human", "dog=human", "person=human"])
        for (entry, code) in [
            ("{name: w, kind: wordnet, folder: none, classes: [{class: animal}]}", "wordnet.missing"),
            ("{name: w, kind: wordnet, folder: ., classes: [{class: quark}]}", "wordnet.unknown-word"),
            ("{name: w, kind: wordnet, folder: ., classes: [{class: bank, kinds-of: [bank.3]}]}", "wordnet.unknown-word"),
            ("{name: w, kind: wordnet, folder: .}", "manifest.missing-key"),
        ] {
            let error = failure { try entries(entry) }
            #expect(error?.code == code && error?.place.contains("f.yaml:2") == true, "\(String(describing: error))")
        }
        #expect(WordNetLexicon.plural(of: "party") == "parties" && WordNetLexicon.plural(of: "boy") == "boys")
    }
}
