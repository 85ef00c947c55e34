internal import Foundation
package import Primitives
internal import WeakSupervision
internal import Yams

extension LabelingFunctionFile {
    /// Reads a file of `configs/labeling-functions/`: `gold-examples-used:` and the list `functions:`.
    package static func load(_ path: String) throws(AMAFError) -> LabelingFunctionFile {
        let document = try YAMLDocument.load(path)
        var map = try YAMLMapping(document.root, in: document)
        _ = try map.text("name")
        _ = try map.text("description")
        guard try map.integer("version", in: 1...Int.max) ?? 1 == 1 else {
            throw map.error(
                "manifest.unknown-version", "This file's version is newer than this program", at: "version", remedy: "Update AMAF.")
        }
        let used = try map.integer("gold-examples-used", in: 0...Int.max) ?? 0
        guard let nodes = try map.list("functions"), !nodes.isEmpty else {
            throw map.missing(
                "functions", remedy: "List at least one labeling function, or leave 'labeling-functions' out of the pipeline.")
        }
        try map.finish()
        var entries: [Entry] = []
        var places: [String: String] = [:]
        for node in nodes {
            let place = document.place(node)
            for spec in try specs(node, document) {
                if let first = places.updateValue(place, forKey: spec.name) {
                    throw document.error(
                        "manifest.duplicate-name", "The labeling function '\(spec.name)' is there twice, first at \(first)", at: node,
                        remedy: "Rename one of them.")
                }
                entries.append(Entry(spec: spec, place: place))
            }
        }
        return LabelingFunctionFile(path: path, entries: entries, goldExamplesUsed: used)
    }

    /// The functions of one entry: one, but for a Snorkel module of which no function is named.
    private static func specs(_ node: Node, _ document: YAMLDocument) throws(AMAFError) -> [LabelingFunctionSpec] {
        guard node.mapping != nil else {
            throw document.error(
                "manifest.wrong-type", "A labeling function is \(node.kindName)", at: node, remedy: "Write a map with 'name' and 'kind'.")
        }
        if let expanded = try dictionaryFromFile(node, document) { return [expanded] }
        if let expanded = try dictionaryFromWordNet(node, document) { return [expanded] }
        if let expanded = try reportFromFile(node, document) { return [expanded] }
        var spec: LabelingFunctionSpec
        do {
            spec = try YAMLDecoder().decode(LabelingFunctionSpec.self, from: node)
        } catch {
            throw decodingError(error, node, document)
        }
        do throws(AMAFError) {
            try spec.resolveFiles(against: URL(fileURLWithPath: document.path).deletingLastPathComponent().path)
        } catch {
            // Where it stands in this file is what the reader can mend.
            throw document.error(
                error.code, "Labeling function '\(spec.name)': \(error.message) ('\(error.place)')", at: node, remedy: error.remedy)
        }
        guard case .snorkel(let rule) = spec.kind, node.mapping?["function"] == nil else { return [spec] }
        let names = try snorkelFunctions(rule.module.path, node, document)
        return names.map { function in
            var one = rule
            one.function = function
            return LabelingFunctionSpec(name: "\(spec.name)/\(function)", kind: .snorkel(one))
        }
    }

    /// The functions decorated in a Python module, in its order, without running it.
    private static func snorkelFunctions(_ path: String, _ node: Node, _ document: YAMLDocument) throws(AMAFError) -> [String] {
        let text = FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
        var names: [String] = []
        var isDecorated = false
        var given: String?
        for line in text.split(whereSeparator: \.isNewline) {
            if line.hasPrefix("@labeling_function") || line.hasPrefix("@nlp_labeling_function") {
                isDecorated = true
                given = line.firstMatch(of: #/name\s*=\s*["']([^"']+)["']/#).map { String($0.1) }
            } else if isDecorated, line.hasPrefix("def ") {
                names.append(given ?? line.dropFirst(4).prefix { $0 != "(" }.trimmingCharacters(in: .whitespaces))
                isDecorated = false
            }
        }
        guard !names.isEmpty else {
            throw document.error(
                "labeling-function.no-functions", "The module '\(path)' decorates no function with @labeling_function", at: node,
                remedy: "Name the labeling function with 'function:', one entry each, when it is made in another way.")
        }
        return names
    }

    /// `kind: report` names a table of phrases and an observation in it.
    private static func reportFromFile(_ node: Node, _ document: YAMLDocument) throws(AMAFError) -> LabelingFunctionSpec? {
        var map = try YAMLMapping(node, in: document, name: "functions")
        guard try map.text("kind") == "report", map.keys.contains("file") else { return nil }
        let name = try map.requiredText("name", remedy: "Give the labeling function a name.")
        let observation = try map.requiredText("observation", remedy: "Name an observation of the table.")
        let className = try map.requiredText("class", remedy: "Name the class of reports that have it.")
        guard let path = try map.existingPath("file") else {
            throw map.missing("file", remedy: "Name a CSV file with lines 'observation,role,phrase'.")
        }
        var rule = ReportRule(className: className, absentClass: try map.text("absent-class"), phrases: ReportPhrases(mentions: []))
        rule.uncertain = try map.choice("uncertain") ?? rule.uncertain
        try map.finish()
        guard let data = FileManager.default.contents(atPath: path), let csv = String(validating: data, as: UTF8.self) else {
            throw map.error(
                "manifest.unreadable-file", "'\(path)' cannot be read as UTF-8", at: "file",
                remedy: "Name a CSV file with lines 'observation,role,phrase'.")
        }
        rule.phrases = try ReportPhrases(csv: csv, place: path, observation: observation)
        return LabelingFunctionSpec(name: name, kind: .report(rule))
    }

    /// `kind: dictionary` may name a CSV file instead of listing its entries.
    private static func dictionaryFromFile(_ node: Node, _ document: YAMLDocument) throws(AMAFError) -> LabelingFunctionSpec? {
        var map = try YAMLMapping(node, in: document, name: "functions")
        guard try map.text("kind") == "dictionary", map.keys.contains("file") else { return nil }
        let name = try map.requiredText("name", remedy: "Give the labeling function a name.")
        guard let path = try map.existingPath("file") else { throw map.missing("file", remedy: "Name a CSV file with lines 'term,class'.") }
        let caseSensitive = try map.bool("case-sensitive") ?? false
        try map.finish()
        guard let data = FileManager.default.contents(atPath: path), let csv = String(validating: data, as: UTF8.self) else {
            throw map.error(
                "manifest.unreadable-file", "'\(path)' cannot be read as UTF-8", at: "file",
                remedy: "Name a CSV file with lines 'term,class'.")
        }
        return LabelingFunctionSpec(name: name, kind: .dictionary(try DictionaryRule(csv: csv, place: path, caseSensitive: caseSensitive)))
    }

    /// `kind: wordnet`: a dictionary of all words for kinds of some things. The words become part of the function, so workers need no WordNet.
    private static func dictionaryFromWordNet(_ node: Node, _ document: YAMLDocument) throws(AMAFError) -> LabelingFunctionSpec? {
        var map = try YAMLMapping(node, in: document, name: "functions")
        guard try map.text("kind") == "wordnet" else { return nil }
        let name = try map.requiredText("name", remedy: "Give the labeling function a name.")
        let folder = try map.text("folder") ?? WordNetLexicon.defaultFolder
        let maximumSense = try map.integer("maximum-sense", in: 1...100) ?? 1
        let addsPlurals = try map.bool("plurals") ?? true
        guard let classes = try map.list("classes"), !classes.isEmpty else {
            throw map.missing("classes", remedy: "List what each class is called in WordNet: {class: animal, kinds-of: [animal]}.")
        }
        try map.finish()
        func inFile(_ error: AMAFError, _ node: Node) -> AMAFError {
            document.error(error.code, "Labeling function '\(name)': \(error.message) ('\(error.place)')", at: node, remedy: error.remedy)
        }
        let lexicon: WordNetLexicon
        do throws(AMAFError) { lexicon = try WordNetLexicon(folder: ManifestPaths.resolve(folder, against: document.path)) } catch {
            throw inFile(error, node)
        }
        var entries: [DictionaryRule.Entry] = []
        for item in classes {
            var part = try YAMLMapping(item, in: document, name: "classes")
            let className = try part.requiredText("class", remedy: "Name the class that the words speak for.")
            let kinds = try part.texts("kinds-of") ?? [className]
            let except = try part.texts("except") ?? []
            try part.finish()
            do throws(AMAFError) {
                let dropped = Set(except.isEmpty ? [] : try lexicon.hyponyms(of: except, maximumSense: 100))
                for term in try lexicon.hyponyms(of: kinds, maximumSense: maximumSense) where !dropped.contains(term) {
                    for form in addsPlurals ? [term, WordNetLexicon.plural(of: term)] : [term] {
                        entries.append(DictionaryRule.Entry(term: form, className: className))
                    }
                }
            } catch { throw inFile(error, item) }
        }
        return LabelingFunctionSpec(name: name, kind: .dictionary(DictionaryRule(entries: entries)))
    }

    /// Finds the node that a decoder's complaint is about.
    private static func decodingError(_ error: any Error, _ node: Node, _ document: YAMLDocument) -> AMAFError {
        let (path, what): ([any CodingKey], String)
        switch error as? DecodingError {
        case .dataCorrupted(let context): (path, what) = (context.codingPath, context.debugDescription)
        case .keyNotFound(let key, let context): (path, what) = (context.codingPath, "The key '\(key.stringValue)' is missing")
        case .typeMismatch(_, let context), .valueNotFound(_, let context): (path, what) = (context.codingPath, context.debugDescription)
        case nil: (path, what) = ([], "\(error)")
        @unknown default: (path, what) = ([], "\(error)")
        }
        var place = node
        for key in path {
            if let index = key.intValue, let items = place.sequence, items.indices.contains(index) {
                place = items[index]
            } else if let mapping = place.mapping, let pair = mapping.first(where: { $0.key.scalar?.string == key.stringValue }) {
                place = path.count == 1 ? pair.key : pair.value
            }
        }
        let code =
            what.contains("unknown key")
            ? "manifest.unknown-key" : what.contains("missing") ? "manifest.missing-key" : "manifest.wrong-type"
        let name = node.mapping?.first { $0.key.scalar?.string == "name" }?.value.scalar?.string
        let sentence = (what.first.map { $0.uppercased() } ?? "") + what.dropFirst()
        return document.error(
            code, name.map { "Labeling function '\($0)': \(what)" } ?? sentence, at: place,
            remedy: "The kinds are \(LabelingFunctionSpec.kindNames.joined(separator: ", ")); see configs/README.md for their keys.")
    }

    /// Puts the place in this file into an error that names a function as its place.
    package func located(_ error: AMAFError) -> AMAFError {
        guard let entry = entries.first(where: { $0.spec.name == error.place }) else { return error }
        var error = error
        error.place = entry.place
        return error
    }

    /// Refuses functions that name a class which the data set does not have.
    package func check(classNames: [String]) throws(AMAFError) {
        let known = Set(classNames)
        for entry in entries {
            guard let unknown = entry.spec.classNames.first(where: { !known.contains($0) }) else { continue }
            throw AMAFError(
                "manifest.unknown-class",
                "The labeling function '\(entry.spec.name)' votes for '\(unknown)', which the data set does not have",
                place: entry.place,
                remedy: closest(to: unknown, among: classNames).map { "Did you mean '\($0)'?" }
                    ?? "Its classes are \(classNames.prefix(8).joined(separator: ", "))\(classNames.count > 8 ? " …" : "").")
        }
    }
}
