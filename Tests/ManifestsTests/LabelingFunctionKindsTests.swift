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
        #expect(throws: AMAFError.self) { try kind("label-model: {modle: auto}") }
        #expect(throws: AMAFError.self) { try kind("label-model: best") }
    }
}
