internal import Foundation
package import Primitives

/// A data set's bytes as one plain file: decompressed, and a folder of texts or a set of images packed into one.
package struct DatasetSource: Sendable {
    /// Shown in messages: the name of the user's file or folder.
    package let name: String
    package let format: DatasetFormat
    /// The plain file: the user's own where that is plain already, otherwise one in the scratch folder.
    package let path: String
    /// The folder that image and sensor references are relative to.
    package let folder: String

    package init(name: String, format: DatasetFormat, path: String, folder: String) {
        self.name = name
        self.format = format
        self.path = path
        self.folder = folder
    }

    /// Decompresses a gzip file, or packs a folder of texts, into `scratch`; a plain file is used where it lies.
    ///
    /// - Parameters:
    ///   - path: of a file, or of a folder for the format `textFolder`.
    ///   - scratch: an existing folder.
    package static func prepare(_ path: String, format: DatasetFormat, scratch: String) throws(AMAFError) -> DatasetSource {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw AMAFError(
                "dataset.missing-file", "There is no data set at '\(path)'",
                remedy:
                    "Check the path; relative paths start at the manifest that names them. Public data sets are fetched by 'amaf dataset pull'."
            )
        }
        let name = (path as NSString).lastPathComponent
        if format.kind.holdsImages {
            // Pool and test come from one folder: a pack for each choice of splits.
            let stem = ([(name as NSString).deletingPathExtension] + format.splits).joined(separator: "-")
            let pack = "\(scratch)/\(stem).images"
            try ImageSources(format: format).write(path, isFolder: isFolder.boolValue, to: pack)
            let folder = isFolder.boolValue ? path : (path as NSString).deletingLastPathComponent
            return DatasetSource(name: "\(stem).images", format: format, path: pack, folder: folder)
        }
        if format.kind == .textFolder {
            guard isFolder.boolValue else {
                throw AMAFError(
                    "dataset.not-a-folder", "'\(path)' is a file", remedy: "Use the format 'text-lines' for a file with one text a line.")
            }
            let pack = "\(scratch)/\(name).pack"
            try TextPack.write(folder: path, to: pack)
            return DatasetSource(name: name, format: format, path: pack, folder: path)
        }
        guard !isFolder.boolValue else {
            throw AMAFError(
                "dataset.not-a-file", "'\(path)' is a folder",
                remedy: "Name a file in it, or use the format 'text-folder' for a folder of texts.")
        }
        let folder = (path as NSString).deletingLastPathComponent
        guard try Gzip.isCompressed(path) else { return DatasetSource(name: name, format: format, path: path, folder: folder) }
        let plainName = name.hasSuffix(".gz") ? String(name.dropLast(3)) : name + ".plain"
        try Gzip.decompress(path, to: "\(scratch)/\(plainName)")
        return DatasetSource(name: plainName, format: format, path: "\(scratch)/\(plainName)", folder: folder)
    }

    /// One pass over the bytes. Memory: some 16 bytes a row for the hashes of ids, and the class names.
    ///
    /// - Parameter classNames: the classes when they are known before; rows with another label are then quarantined. Nil collects
    ///   the names that occur.
    /// - Throws: `dataset.empty`, `dataset.no-usable-row`, `dataset.missing-column`, `dataset.unknown-split`, `dataset.bad-json` …;
    ///   single bad rows are quarantined instead.
    package func index(blockSize: Int = BlockPlan.defaultBlockSize, classNames: [String]? = nil) throws(AMAFError) -> DatasetIndex {
        precondition(blockSize > 0, "blocks of \(blockSize)")
        return try MappedFile(path).withBytes { (bytes) throws(AMAFError) in try index(bytes, blockSize: blockSize, classNames: classNames)
        }
    }

    private func index(_ bytes: UnsafeRawBufferPointer, blockSize: Int, classNames: [String]?) throws(AMAFError) -> DatasetIndex {
        guard !bytes.isEmpty else {
            throw AMAFError(
                "dataset.empty", "The file is empty", place: name, remedy: "Check that it was written or downloaded completely.")
        }
        var hasher = DigestHasher()
        hasher.update(bytes)
        let digest = hasher.finish()
        var builder = IndexBuilder(format: format, name: name, blockSize: blockSize, classNames: classNames)
        var columns: [String] = []
        switch format.kind {
        case .clinc150: try ClincIndexer(bytes: bytes, name: name, splits: format.splits).run(into: &builder)
        case .csv:
            let header = try CSVHeader(bytes, name: name, format: format)
            columns = header.columns
            let body = UnsafeRawBufferPointer(rebasing: bytes[header.byteCount...])
            drain(
                CSVCursor(
                    body, offset: header.byteCount, line: header.lines + 1, row: 0, delimiter: header.delimiter, columns: columns,
                    fields: FieldRoles(format.fields)), into: &builder)
        case .jsonl:
            drain(JSONLinesCursor(bytes, offset: 0, line: 1, row: 0, fields: FieldRoles(format.fields)), into: &builder)
        case .textLines: drain(TextLinesCursor(bytes, offset: 0, line: 1, row: 0), into: &builder)
        case .textFolder:
            guard bytes.starts(with: TextPack.magic) else {
                throw AMAFError("dataset.damaged", "The packed folder is damaged", place: path, remedy: "Delete it and run again.")
            }
            drain(TextPackCursor(bytes, offset: 0, row: 0), into: &builder)
        case .imageFolder, .idx, .npz, .imageCSV, .chexpert:
            guard bytes.starts(with: ImagePack.magic) else {
                throw AMAFError("dataset.damaged", "The packed images are damaged", place: path, remedy: "Delete them and run again.")
            }
            drain(ImagePackCursor(bytes, offset: 0, row: 0), into: &builder)
        }
        var index = try builder.finish(digest: digest, byteCount: bytes.count, columns: columns, classNames: classNames)
        index.blockDigests = index.blocks.map { segments in
            var hasher = DigestHasher()
            for segment in segments { hasher.update(UnsafeRawBufferPointer(rebasing: bytes[segment.bytes])) }
            return hasher.finish()
        }
        return index
    }

    private func drain(_ cursor: some RowCursor, into builder: inout IndexBuilder) {
        var cursor = cursor
        while let row = cursor.next() { builder.add(row) }
    }
}

/// The first record of a CSV file, which names its columns.
struct CSVHeader {
    var columns: [String]
    var byteCount: Int
    var lines: Int
    var delimiter: UInt8

    init(_ bytes: UnsafeRawBufferPointer, name: String, format: DatasetFormat) throws(AMAFError) {
        delimiter = try format.delimiterByte()
        var scanner = CSVScanner(bytes, line: 1, delimiter: delimiter)
        guard let (_, line, fault) = scanner.next() else {
            throw AMAFError(
                "dataset.empty", "The file holds blank lines only", place: name, remedy: "Check that it was written completely.")
        }
        if let fault {
            throw AMAFError(fault.code, fault.reason, place: "\(name):\(line)", remedy: "The first line must name the columns.")
        }
        guard let columns = scanner.texts() else {
            throw AMAFError("dataset.not-utf8", "The header is not UTF-8", place: "\(name):\(line)", remedy: "Convert the file to UTF-8.")
        }
        self.columns = columns
        byteCount = scanner.at > bytes.count ? bytes.count : scanner.at
        lines = scanner.line - 1
        let fields = format.fields
        for column in [fields.text, fields.id, fields.label, fields.split, fields.image, fields.sensor].compactMap({ $0 })
        where !columns.contains(column) {
            throw AMAFError(
                "dataset.missing-column", "There is no column '\(column)'; there are \(columns.map { "'\($0)'" }.joined(separator: ", "))",
                place: "\(name):\(line)", remedy: "Name the right column under 'fields' in the data set's manifest.")
        }
        if let twice = columns.first(where: { column in columns.count(where: { $0 == column }) > 1 }) {
            throw AMAFError(
                "dataset.duplicate-column", "The column '\(twice)' is there twice", place: "\(name):\(line)", remedy: "Rename one of them.")
        }
    }
}

extension DatasetFormat {
    func delimiterByte() throws(AMAFError) -> UInt8 {
        let written = delimiter == "\\t" ? "\t" : delimiter
        guard let byte = written.utf8.first, written.utf8.count == 1, byte != 0x22, byte != 0x0A, byte != 0x0D else {
            throw AMAFError(
                "dataset.bad-delimiter", "'\(delimiter)' cannot divide columns",
                remedy: "Use one ASCII character, for example ',' ';' or a tab.")
        }
        return byte
    }
}

/// Walks over a whole CLINC150 file.
struct ClincIndexer {
    let bytes: UnsafeRawBufferPointer
    let name: String
    let splits: [String]

    /// Rows reach the builder in the order of `splits`, whatever order the file has; all lists in file order when none is chosen.
    func run(into builder: inout IndexBuilder) throws(AMAFError) {
        var scanner = JSONScanner(bytes, in: 0..<bytes.count)
        var lists: [(split: String, bytes: Range<Int>, line: Int)] = []
        do throws(JSONFault) {
            guard scanner.peek() == UInt8(ascii: "{") else { throw scanner.fault("The file is not a JSON object of lists") }
            try scanner.object { (key, scanner) throws(JSONFault) in
                guard scanner.peek() == UInt8(ascii: "[") else { throw scanner.fault("'\(key)' is not a list of [text, intent]") }
                let open = scanner.at
                let line = 1 + scanner.lineBreaks
                let end = try Self.skipList(&scanner, split: key)
                lists.append((key, open + 1..<end, line))
            }
            guard scanner.peek() == nil else { throw scanner.fault("Something follows the object") }
        } catch {
            throw jsonError(error)
        }
        if let missing = splits.first(where: { split in !lists.contains { $0.split == split } }) {
            throw AMAFError(
                "dataset.unknown-split",
                "There is no split '\(missing)'; there are \(lists.map { "'\($0.split)'" }.joined(separator: ", "))",
                place: name, remedy: "Name one of these under 'splits'.")
        }
        for split in splits.isEmpty ? lists.map(\.split) : splits {
            for list in lists where list.split == split {
                let part = UnsafeRawBufferPointer(rebasing: bytes[list.bytes])
                var cursor = ClincCursor(part, offset: list.bytes.lowerBound, line: list.line, row: 0, split: split)
                while let row = cursor.next() { builder.add(row, split: split) }
            }
        }
    }

    /// Checks a list's JSON and returns where its closing bracket stands.
    private static func skipList(_ scanner: inout JSONScanner, split: String) throws(JSONFault) -> Int {
        try scanner.expect(UInt8(ascii: "["))
        if scanner.take(UInt8(ascii: "]")) { return scanner.at - 1 }
        repeat { _ = try ClincCursor.row(&scanner, split: split) } while scanner.take(UInt8(ascii: ","))
        try scanner.expect(UInt8(ascii: "]"))
        return scanner.at - 1
    }

    private func jsonError(_ fault: JSONFault) -> AMAFError {
        let before = bytes[0..<min(fault.offset, bytes.count)]
        let line = 1 + before.count(where: { $0 == 0x0A })
        let column = 1 + (before.lastIndex(of: 0x0A).map { fault.offset - $0 - 1 } ?? fault.offset)
        // An end in the middle is what an interrupted download leaves.
        let isCut = fault.offset >= bytes.count || fault.what == "A string is never closed"
        return AMAFError(
            isCut ? "dataset.truncated" : "dataset.bad-json", fault.what, place: "\(name):\(line):\(column)",
            remedy: isCut ? "The file is cut off: get it again." : "Compare the file's SHA-256 with its source's, or mend the place named.")
    }
}
