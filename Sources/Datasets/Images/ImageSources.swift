internal import Foundation
internal import Primitives

/// Which files of a folder are pictures: by the ending alone, since others are passed over.
package enum PictureFiles {
    static let suffixes: Set<String> = ["jpg", "jpeg", "png", "pgm"]

    package static func isPicture(_ name: String) -> Bool { suffixes.contains((name as NSString).pathExtension.lowercased()) }
}

/// Reads image data sets of all layouts into a pack.
struct ImageSources {
    let format: DatasetFormat
    private var options: ImageRows { format.images ?? ImageRows() }

    /// - Parameter path: of a folder, archive or table, as the format has it.
    func write(_ path: String, isFolder: Bool, to pack: String) throws(AMAFError) {
        var writer = try ImagePack.Writer(pack, limits: options.limits ?? [:])
        switch format.kind {
        case .imageFolder: try folder(path, isFolder: isFolder, into: &writer)
        case .idx: try arrays(try IDXFiles.splits(path, isFolder: isFolder, wanted: format.splits), into: &writer)
        case .npz: try arrays(try NPZFile.splits(path, wanted: format.splits), into: &writer)
        case .imageCSV, .chexpert: try table(path, isFolder: isFolder, into: &writer)
        case .clinc150, .jsonl, .csv, .textFolder, .textLines: preconditionFailure("\(format.kind) holds no images")
        }
        guard writer.rows > 0 else {
            throw AMAFError(
                "dataset.empty",
                "'\(path)' holds no image\(format.splits.isEmpty ? "" : " of the splits \(format.splits.joined(separator: ", "))")",
                remedy: "Check the path, the splits and the conditions of the data set's manifest.")
        }
        try writer.close()
    }

    // MARK: Folders

    /// `[split/]class/…/name.png`: with splits chosen, the first folder is the split.
    private func folder(_ path: String, isFolder: Bool, into writer: inout ImagePack.Writer) throws(AMAFError) {
        guard isFolder, let walker = FileManager.default.enumerator(atPath: path) else {
            throw AMAFError(
                "dataset.not-a-folder", "'\(path)' is no readable folder", remedy: "Name a folder with one subfolder for each class.")
        }
        var files: [String] = []
        while let file = walker.nextObject() as? String {
            let isHidden = file.split(separator: "/").contains { $0.hasPrefix(".") }
            if !isHidden, PictureFiles.isPicture(file) { files.append(file) }
        }
        files.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        for file in files {
            var folders = file.split(separator: "/").dropLast().map(String.init)
            var split = ""
            if !format.splits.isEmpty {
                guard let first = folders.first, format.splits.contains(first) else { continue }
                split = first
                folders.removeFirst()
            }
            try writer.append(ImagePack.Entry(id: file, label: folders.first, split: split, reference: file), file: "\(path)/\(file)")
        }
    }

    // MARK: Arrays

    private func arrays(_ splits: [ImageArrays], into writer: inout ImagePack.Writer) throws(AMAFError) {
        for part in splits {
            let stride = part.height * part.width * part.channels
            for i in 0..<part.count {
                let number = String(i + 1)
                let id = "\(part.split)-\(String(repeating: "0", count: max(0, 6 - number.count)))\(number)"
                let entry = ImagePack.Entry(
                    id: id, label: part.labels.map { String($0[i]) }, split: part.split, reference: "\(part.name)#\(i)")
                try part.pixels.withBytes { (bytes) throws(AMAFError) in
                    let start = part.firstByte + i * stride
                    try writer.append(
                        entry,
                        .raw(
                            width: part.width, height: part.height, channels: part.channels,
                            UnsafeRawBufferPointer(rebasing: bytes[start..<start + stride])))
                }
            }
        }
    }

    // MARK: Tables

    private func table(_ path: String, isFolder: Bool, into writer: inout ImagePack.Writer) throws(AMAFError) {
        let tables: [String]
        if isFolder {
            // CheXpert's own layout: train.csv and valid.csv beside the folders of pictures.
            let wanted = format.splits.isEmpty ? ["train", "valid"] : format.splits
            tables = wanted.map { "\(path)/\($0).csv" }.filter { FileManager.default.fileExists(atPath: $0) }
            guard format.kind == .chexpert, !tables.isEmpty else {
                throw AMAFError("dataset.not-a-file", "'\(path)' is a folder without a table of images", remedy: "Name the CSV file.")
            }
        } else {
            tables = [path]
        }
        for table in tables {
            let split = isFolder ? ((table as NSString).lastPathComponent as NSString).deletingPathExtension : nil
            let file = try MappedFile(table)
            try file.withBytes { (bytes) throws(AMAFError) in
                try rows(
                    bytes, name: (table as NSString).lastPathComponent, folder: (table as NSString).deletingLastPathComponent, split,
                    &writer)
            }
        }
    }

    private func rows(
        _ bytes: UnsafeRawBufferPointer, name: String, folder: String, _ fixedSplit: String?, _ writer: inout ImagePack.Writer
    ) throws(AMAFError) {
        let header = try CSVHeader(bytes, name: name, format: try withDefaults(bytes, name: name))
        let layout = try TableLayout(header.columns, format: format, name: name)
        var scanner = CSVScanner(
            UnsafeRawBufferPointer(rebasing: bytes[header.byteCount...]), line: header.lines + 1, delimiter: header.delimiter)
        let root = options.root.isEmpty ? folder : "\(folder)/\(options.root)"
        while let (_, line, fault) = scanner.next() {
            let texts = fault == nil ? scanner.texts() : nil
            guard let texts, texts.count == header.columns.count else {
                let broken =
                    fault
                    ?? (scanner.fields.count == header.columns.count
                        ? .notUTF8
                        : RowFault(
                            "dataset.column-count",
                            "The row has \(scanner.fields.count) columns where the header has \(header.columns.count)"))
                try writer.append(ImagePack.Entry(id: "\(name)-\(line)", reference: "\(name):\(line)"), .missing(broken))
                continue
            }
            guard layout.holds(texts) else { continue }
            let split = fixedSplit ?? layout.split(texts) ?? ""
            guard format.splits.isEmpty || format.splits.contains(split) else { continue }
            let reference = texts[layout.image]
            var entry = ImagePack.Entry(id: layout.id.map { texts[$0] } ?? reference, split: split, reference: reference)
            let label = layout.label(texts)
            entry.label = try? label.get()
            entry.text = layout.text.map { texts[$0] } ?? ""
            entry.metadata = layout.metadata(texts)
            if case .failure(let invalid) = label {
                try writer.append(entry, .missing(invalid))
            } else if reference.isEmpty || reference.hasPrefix("/") || reference.split(separator: "/").contains("..") {
                // A reference comes from the data: it must not lead out of their folder.
                entry.reference = "\(name):\(line)"
                try writer.append(
                    entry, .missing(RowFault("dataset.bad-reference", "'\(reference)' does not name a file of the data set")))
            } else {
                let direct = "\(root)/\(reference)"
                let path =
                    FileManager.default.fileExists(atPath: direct) ? direct : layout.withoutFirstFolder(reference).map { "\(root)/\($0)" }
                try writer.append(entry, file: path ?? direct)
            }
        }
    }

    /// The columns that a header must have: the text is optional here.
    private func withDefaults(_ bytes: UnsafeRawBufferPointer, name: String) throws(AMAFError) -> DatasetFormat {
        var format = format
        if format.kind == .chexpert {
            format.fields.image = format.fields.image ?? "Path"
            format.fields.label = options.observation
        }
        guard let image = format.fields.image else {
            throw AMAFError(
                "dataset.missing-column", "No column is named as the one of image paths", place: name,
                remedy: "Name it: 'fields: {image: …}'.")
        }
        // CSVHeader asks for the text's column; where none is named, the image's stands in.
        if !format.fields.hasOwnText { format.fields.text = image }
        return format
    }
}

extension DatasetFormat.Fields {
    /// `text` is the name that stands there when nobody wrote one.
    var hasOwnText: Bool { text != "text" }
}

/// What each column of a table of images is.
private struct TableLayout {
    let image: Int
    let id: Int?
    let text: Int?
    private let labelColumn: Int?
    /// By name, where a row has several labels.
    private let labelColumns: [String: Int]
    private let splitColumn: Int?
    private let options: ImageRows
    private let groupColumn: Int?
    private let conditions: [(column: Int, value: String)]
    private let kept: [(column: Int, name: String)]
    private let isChexpert: Bool

    init(_ columns: [String], format: DatasetFormat, name: String) throws(AMAFError) {
        options = format.images ?? ImageRows()
        isChexpert = format.kind == .chexpert
        func find(_ column: String?) throws(AMAFError) -> Int? {
            guard let column else { return nil }
            guard let index = columns.firstIndex(of: column) else {
                throw AMAFError(
                    "dataset.missing-column",
                    "There is no column '\(column)'; there are \(columns.map { "'\($0)'" }.joined(separator: ", "))",
                    place: name, remedy: "Name the right column in the data set's manifest.")
            }
            return index
        }
        let fields = format.fields
        image = try find(fields.image ?? (isChexpert ? "Path" : "image")) ?? 0
        id = try find(fields.id)
        text = columns.firstIndex(of: fields.text)
        labelColumn = try find(isChexpert ? options.observation : fields.label)
        var labelColumns: [String: Int] = [:]
        switch options.labels?.source {
        case .columns: for name in options.labels?.names ?? [] { labelColumns[name] = try find(name) }
        case .list(let column, _, _): labelColumns[column] = try find(column)
        case nil: break
        }
        self.labelColumns = labelColumns
        splitColumn = try find(fields.split)
        groupColumn = try find(options.groups?.column)
        var conditions: [(Int, String)] = []
        for condition in options.conditions { conditions.append((try find(condition.column) ?? 0, condition.value)) }
        self.conditions = conditions
        // Labels, also those of other observations, are gold: no labeling function may see them.
        var hidden = Set([image, id, text, labelColumn, splitColumn].compactMap { $0 }).union(labelColumns.values)
        for column in options.hidden ?? [] { if let index = try find(column) { hidden.insert(index) } }
        let unseen = hidden
        let observations = Set(ChexpertObservations.names)
        let isChexpert = isChexpert
        kept = columns.enumerated().filter { !unseen.contains($0.offset) && !(isChexpert && observations.contains($0.element)) }
            .map { ($0.offset, $0.element) }
    }

    func holds(_ row: [String]) -> Bool { conditions.allSatisfy { $0.value == "*" ? !row[$0.column].isEmpty : row[$0.column] == $0.value } }

    func split(_ row: [String]) -> String? {
        if let groupColumn, let groups = options.groups { return groups.split(of: row[groupColumn]) }
        return splitColumn.map { row[$0] }
    }

    /// The class, the code of all labels' cells, nil where nothing is known; or what is wrong with a cell.
    func label(_ row: [String]) -> Result<String?, RowFault> {
        if let labels = options.labels {
            return labels.cells({ labelColumns[$0].map { row[$0] } ?? "" }, uncertain: options.uncertain).map { LabelCell.code($0) }
        }
        guard let labelColumn, !row[labelColumn].isEmpty else { return .success(nil) }
        guard isChexpert else { return .success(row[labelColumn]) }
        guard ChexpertObservations.value(row[labelColumn]) != nil else {
            return .failure(RowFault("dataset.unknown-label", "'\(row[labelColumn])' is none of 1, 0, -1 and blank"))
        }
        return .success(ChexpertObservations.label(row[labelColumn], uncertain: options.uncertain))
    }

    func metadata(_ row: [String]) -> [MetadataEntry] { sorted(kept.map { MetadataEntry($0.name, row[$0.column]) }) }

    /// CheXpert's paths begin with the name of the folder that the table lies in.
    func withoutFirstFolder(_ reference: String) -> String? {
        guard isChexpert, let slash = reference.firstIndex(of: "/") else { return nil }
        return String(reference[reference.index(after: slash)...])
    }
}
