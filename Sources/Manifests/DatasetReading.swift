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
            guard kind == .jsonl || kind == .csv else {
                throw map.error(
                    "manifest.unused-key", "The format '\(kind.rawValue)' has no fields to name", at: "fields",
                    remedy: "Leave 'fields' out.")
            }
            try format.fields.read(&fields)
        }
        if let delimiter = try map.text("delimiter") { format.delimiter = delimiter }
        if let label = try map.text("out-of-scope") { format.outOfScopeLabel = label }
        (pool, test) = try Self.splits(format, &map)
        location = try Self.location(name: name, &map)
        if let path = try map.existingPath("test-path") {
            testLocation = .local(path)
            test = test ?? format
        }
        try map.finish()
    }

    /// `splits: {pool: train, test: test}`.
    private static func splits(_ format: DatasetFormat, _ map: inout YAMLMapping) throws(AMAFError) -> (
        pool: DatasetFormat, test: DatasetFormat?
    ) {
        var (pool, test) = (format, DatasetFormat?.none)
        guard var splits = try map.map("splits") else {
            if format.kind == .clinc150 { (pool.splits, test) = (["train"], .clinc150(splits: ["test"])) }
            return (pool, test)
        }
        guard format.kind == .clinc150 || format.fields.split != nil else {
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
        try splits.finish()
        return (pool, test)
    }

    private static func location(name: String, _ map: inout YAMLMapping) throws(AMAFError) -> Location {
        if let path = try map.existingPath("path") { return .local(path) }
        guard let url = try map.text("url") else {
            throw map.missing("path", remedy: "Write 'path:' with your own file or folder, or 'url:' and 'sha256:' of a public one.")
        }
        guard url.hasPrefix("https://") || url.hasPrefix("http://") else {
            throw map.error("manifest.bad-url", "'\(url)' is no web address", at: "url", remedy: "It must begin with 'https://'.")
        }
        guard let sha256 = try map.digest("sha256") else { throw map.missing("sha256", remedy: "Give the SHA-256 of the plain file.") }
        let file = try map.text("file") ?? url.split(separator: "/").last.map(String.init) ?? name
        guard !file.contains("/"), !name.contains("/"), file != "..", name != ".." else {
            throw map.error(
                "manifest.bad-name", "'\(name)/\(file)' leaves the folder of data", at: "file", remedy: "Use names without slashes.")
        }
        return .published(
            PublicFile(
                dataset: name, file: file, url: url, sha256: sha256, byteCount: try map.integer("bytes", in: 1...Int.max) ?? 0,
                mirrorPath: try map.text("mirror"), mirrorSHA256: try map.digest("mirror-sha256")))
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
