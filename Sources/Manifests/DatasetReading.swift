internal import Datasets
package import Primitives
internal import Yams

extension DatasetManifest {
    /// Reads and checks a file of `configs/datasets/`. Local files that it names must be there; published ones need not be pulled yet.
    package static func load(_ path: String) throws(AMAFError) -> DatasetManifest {
        let document = try YAMLDocument.load(path)
        return try DatasetManifest(YAMLMapping(document.root, in: document), fallbackName: nil)
    }

    /// - Parameter fallbackName: of a data set written inside a pipeline.
    init(_ map: consuming YAMLMapping, fallbackName: String?) throws(AMAFError) {
        if let name = try map.text("name") {
            self.name = name
        } else if let fallbackName {
            name = fallbackName
        } else {
            throw map.missing("name", remedy: "Give the data set a name, for example its file's.")
        }
        path = map.document.path
        licence = try map.text("licence") ?? ""
        citation = try map.text("citation") ?? ""
        if let listed = try map.texts("classes") {
            if let twice = listed.enumerated().first(where: { listed[..<$0.offset].contains($0.element) }) {
                throw map.error(
                    "manifest.duplicate-class", "The class '\(twice.element)' is listed twice", at: "classes",
                    remedy: "List each class once.")
            }
            if let open = listed.first(where: { $0.hasPrefix("TODO") }) {
                throw map.error(
                    "manifest.todo", "The class '\(open)' is still to be named", at: "classes",
                    remedy: "Write your own class names in its place.")
            }
            guard listed.count >= 2 else {
                throw map.error("manifest.out-of-range", "A data set needs two classes at least", at: "classes", remedy: "List them all.")
            }
            classes = listed
        }
        if let node = map.value("generate") {
            var part = try YAMLMapping(node, in: map.document, name: "generate")
            let settings = try SampleGenerator.Settings(&part)
            location = .generated(settings)
            pool = .generated(splits: ["pool"])
            if settings.isUnlabelled { pool.fields.label = nil }
            test = settings.isUnlabelled ? nil : .generated(splits: ["test"])
            try map.finish()
            return
        }
        guard let kind: DatasetFormat.Kind = try map.choice("format") else {
            let names = DatasetFormat.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw map.missing("format", remedy: "Write 'format:' with one of \(names), or 'generate:' for made data.")
        }
        var format = DatasetFormat(kind)
        if kind == .clinc150 { format.outOfScopeLabel = "oos" }
        if var fields = try map.map("fields") {
            guard kind == .jsonl || kind == .csv || kind == .imageCSV else {
                throw map.error(
                    "manifest.unused-key", "The format '\(kind.rawValue)' has no fields to name", at: "fields",
                    remedy: "Leave 'fields' out.")
            }
            try format.fields.read(&fields)
        }
        if kind.holdsImages { format.images = try ImageRows(&map, kind: kind) }
        if format.images?.labels != nil, classes != nil || format.fields.label != nil {
            throw map.error(
                "manifest.unused-key", "A sample has either one class or several labels, and the file asks for both", at: "format",
                remedy: "Leave out 'classes' and 'fields: {label: …}', or the labels.")
        }
        if let delimiter = try map.text("delimiter") { format.delimiter = delimiter }
        if let label = try map.text("out-of-scope") { format.outOfScopeLabel = label }
        (pool, test, validation) = try Self.splits(format, &map)
        location = try Self.location(name: name, &map)
        if let path = try map.existingPath("test-path") {
            testLocation = .local(path)
            test = test ?? format
        }
        try map.finish()
    }

    /// `splits: {pool: train, test: test}`.
    private static func splits(_ format: DatasetFormat, _ map: inout YAMLMapping) throws(AMAFError) -> (
        pool: DatasetFormat, test: DatasetFormat?, validation: DatasetFormat?
    ) {
        var (pool, test, validation) = (format, DatasetFormat?.none, DatasetFormat?.none)
        guard var splits = try map.map("splits") else {
            if format.kind == .clinc150 { (pool.splits, test) = (["train"], .clinc150(splits: ["test"])) }
            return (pool, test, nil)
        }
        // The layouts of images have splits of their own; tables of images need a column or groups.
        let hasOwnSplits = format.kind == .clinc150 || (format.kind.holdsImages && format.kind != .imageCSV) || format.images?.groups != nil
        guard hasOwnSplits || format.fields.split != nil else {
            throw map.error(
                "manifest.no-split-field", "'splits' chooses rows, but no field says which split a row belongs to", at: "splits",
                remedy: "Name it with 'fields: {split: …}', or use 'test-path' for a file of its own.")
        }
        guard let chosen = try splits.texts("pool"), !chosen.isEmpty else {
            throw splits.missing("pool", remedy: "Name the split to label: 'pool: train'.")
        }
        pool.splits = chosen
        if let chosen = try splits.texts("test"), !chosen.isEmpty {
            test = format
            test?.splits = chosen
            if let both = chosen.first(where: pool.splits.contains) {
                throw splits.error(
                    "manifest.test-in-pool", "The split '\(both)' is both labelled and tested on", at: "test",
                    remedy: "Keep test samples out of the pool.")
            }
        }
        if let chosen = try splits.texts("validation"), !chosen.isEmpty {
            validation = format
            validation?.splits = chosen
            if let both = chosen.first(where: { pool.splits.contains($0) || test?.splits.contains($0) ?? false }) {
                throw splits.error(
                    "manifest.test-in-pool", "The split '\(both)' has two purposes", at: "validation",
                    remedy: "Keep validation samples out of the pool and of the test split.")
            }
        }
        try splits.finish()
        return (pool, test, validation)
    }

    private static func location(name: String, _ map: inout YAMLMapping) throws(AMAFError) -> Location {
        if let path = try map.existingPath("path") { return .local(path) }
        if let below = try map.text("data") {
            guard !below.hasPrefix("/"), !below.split(separator: "/").contains("..") else {
                throw map.error(
                    "manifest.bad-name", "'\(below)' leaves the folder of data", at: "data",
                    remedy: "Write a path below it, or use 'path:'.")
            }
            return .dataFolder(below)
        }
        if let nodes = try map.list("files") {
            var files: [PublicFile] = []
            for node in nodes {
                var part = try YAMLMapping(node, in: map.document, name: "files")
                files.append(try publicFile(name: name, &part))
                try part.finish()
            }
            guard !files.isEmpty else { throw map.missing("files", remedy: "Name each file's 'url' and 'sha256'.") }
            return .publishedFolder(files)
        }
        return .published(try publicFile(name: name, &map))
    }

    private static func publicFile(name: String, _ map: inout YAMLMapping) throws(AMAFError) -> PublicFile {
        // What is published nowhere in this form can still lie in a mirror.
        let url = try map.text("url") ?? ""
        guard !url.isEmpty || map.value("mirror") != nil else {
            throw map.missing("path", remedy: "Write 'path:' with your own file or folder, or 'url:' and 'sha256:' of a public one.")
        }
        guard url.isEmpty || url.hasPrefix("https://") || url.hasPrefix("http://") else {
            throw map.error("manifest.bad-url", "'\(url)' is no web address", at: "url", remedy: "It must begin with 'https://'.")
        }
        guard let sha256 = try map.digest("sha256") else { throw map.missing("sha256", remedy: "Give the SHA-256 of the plain file.") }
        let file = try map.text("file") ?? url.split(separator: "/").last.map(String.init) ?? name
        guard !file.contains("/"), !name.contains("/"), file != "..", name != ".." else {
            throw map.error(
                "manifest.bad-name", "'\(name)/\(file)' leaves the folder of data", at: "file", remedy: "Use names without slashes.")
        }
        return PublicFile(
            dataset: name, file: file, url: url, sha256: sha256, byteCount: try map.integer("bytes", in: 1...Int.max) ?? 0,
            mirrorPath: try map.text("mirror"), mirrorSHA256: try map.digest("mirror-sha256"))
    }
}

extension ImageRows {
    /// `observation`, `uncertain`, `where`, `groups` and `images` of the data set's map.
    fileprivate init(_ map: inout YAMLMapping, kind: DatasetFormat.Kind) throws(AMAFError) {
        self.init()
        if kind == .chexpert {
            try readObservations(&map)
            uncertain = try map.choice("uncertain") ?? uncertain
        }
        guard kind == .chexpert || kind == .imageCSV else { return }
        root = try map.text("images") ?? ""
        hidden = try map.texts("hide")
        if kind == .imageCSV, var part = try map.map("labels") {
            labels = try LabelSetFormat(&part)
            uncertain = try part.choice("uncertain") ?? uncertain
            try part.finish()
        }
        if var part = try map.map("where") {
            for column in part.keys { conditions.append(Condition(column: column, value: try part.text(column) ?? "")) }
            try part.finish()
        }
        if var part = try map.map("groups") {
            guard let column = try part.text("column") else {
                throw part.missing("column", remedy: "Name the column of the patient, or of whatever belongs together.")
            }
            let test = try part.number("test", in: .rate) ?? 0.3
            let validation = try part.number("validation", in: .rate) ?? 0
            guard test + validation < 1 else {
                throw part.error(
                    "manifest.out-of-range", "Test and validation take all groups", at: "test", remedy: "Leave some for the pool.")
            }
            groups = GroupSplit(column: column, testShare: test, validationShare: validation)
            try part.finish()
        }
    }
}

extension ImageRows {
    /// CheXpert: `observation: Pneumonia` for one class, `observations: all` or a list for labels that are annotated together.
    private mutating func readObservations(_ map: inout YAMLMapping) throws(AMAFError) {
        let known = ChexpertObservations.names
        let remedy = "One of \(known.joined(separator: ", "))."
        if map.value("observations") != nil {
            // A word or a list: `texts` takes both.
            let wanted = try map.texts("observations") ?? []
            let names = wanted == ["all"] ? known : wanted
            if let strange = names.first(where: { !known.contains($0) }) {
                throw map.error(
                    "manifest.unknown-label", "'\(strange)' is none of CheXpert's fourteen observations", at: "observations", remedy: remedy
                )
            }
            try LabelSetFormat.check(names, map, at: "observations")
            labels = LabelSetFormat(names: names, source: .columns, blank: try map.choice("blank") ?? .ignore)
            return
        }
        guard let name = try map.text("observation"), known.contains(name) else {
            throw map.error(
                "manifest.missing-key", "'observation' names none of CheXpert's fourteen", at: "observation",
                remedy: remedy + " Or 'observations: all' for all of them in one run.")
        }
        observation = name
    }
}

extension LabelSetFormat {
    /// `labels: {column: finding, separator: "|", none: No Finding, names: […]}`, or `labels: {columns: […]}` with a column each.
    fileprivate init(_ map: inout YAMLMapping) throws(AMAFError) {
        if let columns = try map.texts("columns") {
            try Self.check(columns, map, at: "columns")
            self.init(names: columns, source: .columns, blank: try map.choice("blank") ?? .ignore)
            return
        }
        guard let column = try map.text("column") else {
            throw map.missing("column", remedy: "Name the column that lists labels, or 'columns:' with one for each label.")
        }
        guard let names = try map.texts("names") else {
            throw map.missing("names", remedy: "List the labels that the column may hold.")
        }
        try Self.check(names, map, at: "names")
        let (separator, none) = (try map.text("separator") ?? "|", try map.text("none") ?? "")
        guard !separator.isEmpty, !names.contains(none) else {
            throw map.error(
                "manifest.out-of-range", "Labels are told apart by nothing, or 'none' is a label too", at: "column",
                remedy: "Give a 'separator', and a word for 'none' that is no label.")
        }
        self.init(names: names, source: .list(column: column, separator: separator, none: none))
    }

    fileprivate static func check(_ names: [String], _ map: YAMLMapping, at key: String) throws(AMAFError) {
        if let twice = names.enumerated().first(where: { names[..<$0.offset].contains($0.element) }) {
            throw map.error("manifest.duplicate-class", "The label '\(twice.element)' is listed twice", at: key, remedy: "List each once.")
        }
        guard (2...limit).contains(names.count) else {
            throw map.error(
                "manifest.out-of-range", "\(names.count) labels cannot be annotated together", at: key,
                remedy: "List 2 to \(limit); one label alone is 'fields: {label: …}' or 'observation:'.")
        }
    }
}

extension YAMLMapping {
    mutating func digest(_ key: String) throws(AMAFError) -> Digest? {
        guard let written = try text(key) else { return nil }
        guard let digest = Digest(hex: written.lowercased()) else {
            throw error(
                "manifest.bad-digest", "'\(key)' is not a SHA-256 digest", at: key,
                remedy: "It has 64 hexadecimal digits; see 'sha256sum FILE'.")
        }
        return digest
    }
}

extension DatasetFormat.Fields {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        id = try map.text("id")
        text = try map.text("text") ?? text
        label = try map.text("label")
        split = try map.text("split")
        image = try map.text("image")
        sensor = try map.text("sensor")
        try map.finish()
        let used = [id, text, label, split, image, sensor].compactMap { $0 }
        if let twice = used.enumerated().first(where: { used[..<$0.offset].contains($0.element) }) {
            throw AMAFError(
                "manifest.duplicate-field", "The field '\(twice.element)' has two parts", place: map.document.place(map.node),
                remedy: "Give each part a field of its own.")
        }
    }
}

extension SampleGenerator.Settings {
    init(_ map: inout YAMLMapping) throws(AMAFError) {
        guard let samples = try map.integer("samples", in: 1...100_000_000) else {
            throw map.missing("samples", remedy: "For example 'samples: 2000'.")
        }
        self.init(
            samples: samples, seed: UInt64(try map.integer("seed", in: 0...Int.max) ?? 1),
            classes: try map.integer("classes", in: SampleGenerator.classLimit) ?? 20, isUnlabelled: try map.bool("unlabelled") ?? false,
            hasImages: try map.bool("images") ?? false, hasSensors: try map.bool("sensors") ?? false)
        try map.finish()
    }
}
