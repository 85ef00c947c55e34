internal import Foundation
package import Primitives

// Label matrices in other tools' forms: Snorkel's n × m int64 array with −1 for abstain, and long CSV.

extension LabelMatrix {
    /// Writes Snorkel's matrix, `sampleCount` × `functions.count` int64, abstentions, faults and unknown cells −1.
    ///
    /// - Parameter path: `.npz` holds it as `L`; any other name is written as a bare `.npy`.
    package func writeNumPy(to path: String) throws(AMAFError) {
        let m = functions.count
        var writer = try NumPyWriter(
            path: path, shape: [sampleCount, m], type: "<i8", itemSize: 8, entry: path.hasSuffix(".npz") ? "L" : nil)
        var next = 0
        for block in blocks {
            try writer.append(array: [Int64](repeating: -1, count: (block.firstSample - next) * m))
            // At most 1,024 rows at a time, whatever the block size.
            let columns = block.columns.map { $0?.votes.cells }
            for start in stride(from: 0, to: block.rowCount, by: 1024) {
                let rows = start..<min(block.rowCount, start + 1024)
                var cells = [Int64](repeating: -1, count: rows.count * m)
                for (j, column) in columns.enumerated() {
                    guard let column else { continue }
                    for row in rows where column[row] >= 0 { cells[(row - start) * m + j] = Int64(column[row]) }
                }
                try writer.append(array: cells)
            }
            next = block.samples.upperBound
        }
        try writer.finish()
    }

    /// Writes `sample,function,class` lines, one a vote, by sample and then by function.
    package func writeCSV(to path: String, classNames: [String]) throws(AMAFError) {
        precondition(classNames.count == classCount, "\(classNames.count) names for \(classCount) classes")
        guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path) else {
            throw AMAFError(
                "label-matrix.unwritable", "The file cannot be written", place: path, remedy: "Check the folder and its permissions.")
        }
        let names = functions.map { CSVText.quoted($0.name) }
        let classes = classNames.map { CSVText.quoted($0) }
        do {
            try file.write(contentsOf: Data("sample,function,class\n".utf8))
            for block in blocks {
                let rows = VoteRows(block, classCount: classCount)
                var text = ""
                for row in 0..<rows.rowCount {
                    for vote in rows.votes(row: row) {
                        text += "\(block.firstSample + row),\(names[vote.function]),\(classes[vote.classIndex])\n"
                    }
                }
                try file.write(contentsOf: Data(text.utf8))
            }
            try file.close()
        } catch {
            throw AMAFError(
                "label-matrix.unwritable", "The file cannot be written: \(error)", place: path, remedy: "Check the space on the disk.")
        }
    }
}

/// What the columns and classes of a NumPy matrix are called: `MATRIX.names.json` beside it.
package struct LabelMatrixNames: Hashable, Sendable, Codable {
    package var functions: [FunctionID]
    package var classes: [String]

    package init(_ matrix: LabelMatrix, classNames: [String]) {
        functions = matrix.functions
        classes = classNames
    }

    private static func path(besides matrix: String) -> String { matrix + ".names.json" }

    package func write(besides matrix: String) throws(AMAFError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        do { try encoder.encode(self).write(to: URL(fileURLWithPath: Self.path(besides: matrix)), options: .atomic) } catch {
            throw AMAFError(
                "label-matrix.unwritable", "The names cannot be written: \(error.localizedDescription)", place: Self.path(besides: matrix),
                remedy: "Check the folder and its permissions.")
        }
    }

    /// nil when there is no such file.
    package static func read(besides matrix: String) throws(AMAFError) -> LabelMatrixNames? {
        guard let data = FileManager.default.contents(atPath: path(besides: matrix)) else { return nil }
        do { return try JSONDecoder().decode(LabelMatrixNames.self, from: data) } catch {
            throw AMAFError(
                "label-matrix.bad-names", "The names of the matrix cannot be read: \(error)", place: path(besides: matrix),
                remedy: "Delete the file, or apply the functions again.")
        }
    }
}

/// A label matrix read from a file, with the names that the file gave.
package struct ImportedLabelMatrix {
    package var matrix: LabelMatrix
    /// By row; empty for NumPy arrays, whose rows are numbers.
    package var sampleNames: [String]
    package var classNames: [String]

    package static let blockSize = 16_384

    /// Reads `.npy`, `.npz` (the entry `L`, or the only one) or long CSV by the name's ending.
    ///
    /// - Parameter classCount: nil takes one more than the highest vote, and at least 2.
    package static func read(_ path: String, classCount: Int? = nil) throws(AMAFError) -> ImportedLabelMatrix {
        let data: Data
        do { data = try Data(contentsOf: URL(fileURLWithPath: path), options: .mappedIfSafe) } catch {
            throw AMAFError(
                "label-matrix.missing-file", "The label matrix cannot be read: \(error.localizedDescription)", place: path,
                remedy: "Check the path.")
        }
        if path.hasSuffix(".npz") {
            let arrays = try NumPyArchive.arrays(data, place: path)
            guard let found = arrays.first(where: { $0.name == "L" }) ?? (arrays.count == 1 ? arrays.first : nil) else {
                throw AMAFError(
                    "label-matrix.no-entry", "The archive holds \(arrays.map(\.name)) and no array 'L'", place: path,
                    remedy: "Save the votes with numpy.savez(file, L=votes).")
            }
            return try read(found.array, classCount: classCount, place: path, names: LabelMatrixNames.read(besides: path))
        }
        if path.hasSuffix(".npy") {
            return try read(
                try NumPyArray(npy: data, place: path), classCount: classCount, place: path, names: LabelMatrixNames.read(besides: path))
        }
        return try read(csv: String(decoding: data, as: UTF8.self), classCount: classCount, place: path)
    }

    static func read(_ array: NumPyArray, classCount: Int?, place: String, names: LabelMatrixNames? = nil) throws(AMAFError)
        -> ImportedLabelMatrix
    {
        guard array.shape.count == 2, array.shape[1] > 0 else {
            throw AMAFError(
                "label-matrix.shape", "A label matrix has rows and columns, not the shape \(array.shape)", place: place,
                remedy: "Save an array of samples × functions.")
        }
        let (n, m) = (array.shape[0], array.shape[1])
        var highest: Int64 = 1
        var bad: (row: Int, column: Int, value: Int64)?
        array.forEachInteger { row, column, value in
            if value < -1 || value >= Int64(VoteCode.maximumClassCount), bad == nil { bad = (row, column, value) }
            highest = max(highest, value)
        }
        if let names,
            names.functions.count != m || Set(names.functions).count != m || names.classes.count <= Int(highest) || names.classes.count < 2
        {
            throw AMAFError(
                "label-matrix.bad-names",
                "The names beside the matrix are of \(names.functions.count) functions and \(names.classes.count) classes, and the votes are not",
                place: "\(place).names.json", remedy: "Delete the file, or apply the functions again.")
        }
        let k = classCount ?? names?.classes.count ?? Int(highest) + 1
        if bad == nil, highest >= Int64(k) { bad = (0, 0, highest) }
        if let bad {
            throw AMAFError(
                "label-matrix.bad-vote",
                bad.value == .min ? "A vote is no whole number" : "The vote \(bad.value) is neither −1 nor one of \(k) classes",
                place: "\(place), row \(bad.row), column \(bad.column)", remedy: "Use −1 for abstain and 0 to K − 1 for classes.")
        }
        let ids = names?.functions ?? (0..<m).map { FunctionID(name: "lf\($0)", digest: importedDigest("lf\($0)")) }
        var matrix = LabelMatrix(classCount: k, functions: ids)
        var cells = [[Int16]](repeating: [], count: m)
        var first = 0
        var failure: AMAFError?
        func flush(upTo end: Int) {
            guard end > first, failure == nil else { return }
            let columns = ids.indices.map { VoteColumn(function: ids[$0], votes: PackedVotes(cells: cells[$0])) }
            do throws(AMAFError) {
                try matrix.insert(VoteBlock(firstSample: first, rowCount: end - first, classCount: k, columns: columns))
            } catch { failure = error }
            for j in 0..<m { cells[j].removeAll(keepingCapacity: true) }
            first = end
        }
        array.forEachInteger { row, column, value in
            if column == 0, row - first == blockSize { flush(upTo: row) }
            cells[column].append(Int16(truncatingIfNeeded: value))
        }
        flush(upTo: n)
        if let failure { throw failure }
        // More classes asked for than named: the others have their numbers.
        let classNames = (0..<k).map { $0 < names?.classes.count ?? 0 ? names?.classes[$0] ?? "" : "\($0)" }
        return ImportedLabelMatrix(matrix: matrix, sampleNames: [], classNames: classNames)
    }

    /// `item,source,label` lines with any header; items in order of appearance, sources and labels sorted (numbers by value). A blank
    /// label, and -1, is an abstention.
    static func read(csv: String, classCount: Int?, place: String) throws(AMAFError) -> ImportedLabelMatrix {
        var rows = try CSVText.rows(csv, place: place)
        guard !rows.isEmpty else {
            throw AMAFError("label-matrix.empty", "The vote list is empty", place: place, remedy: "Give lines of item,source,label.")
        }
        rows.removeFirst()
        for (line, fields) in rows where fields.count != 3 {
            throw AMAFError(
                "label-matrix.bad-row", "A vote has \(fields.count) fields where item, source and label are needed",
                place: "\(place):\(line)",
                remedy: "Write 'item,source,label'.")
        }
        var itemOf: [String: Int] = [:]
        var items: [String] = []
        for (_, fields) in rows where itemOf[fields[0]] == nil {
            itemOf[fields[0]] = items.count
            items.append(fields[0])
        }
        func sorted(_ names: Set<String>) -> [String] {
            let numbers = names.compactMap { Int($0) }
            return numbers.count == names.count ? names.sorted { (Int($0) ?? 0) < (Int($1) ?? 0) } : names.sorted()
        }
        let sources = sorted(Set(rows.map { $0.fields[1] }))
        var classNames = sorted(Set(rows.map { $0.fields[2] }.filter { $0 != "-1" && !$0.isEmpty }))
        // Labels that are numbers keep their value as index.
        if let highest = classNames.compactMap({ Int($0) }).max(),
            classNames.allSatisfy({ Int($0).map { $0 >= 0 && $0 < 32_767 } ?? false })
        {
            classNames = (0...max(highest, (classCount ?? 2) - 1)).map(String.init)
        }
        let k = max(2, classNames.count)
        guard classCount.map({ k <= max(2, $0) }) ?? true, k <= VoteCode.maximumClassCount, sources.count <= Int(UInt16.max) else {
            throw AMAFError(
                "label-matrix.bad-vote", "The votes name \(k) classes of \(sources.count) sources", place: place, remedy: "Check --classes."
            )
        }
        while classNames.count < k { classNames.append("class \(classNames.count)") }
        let sourceOf = Dictionary(uniqueKeysWithValues: sources.enumerated().map { ($1, $0) })
        let classOf = Dictionary(uniqueKeysWithValues: classNames.enumerated().map { ($1, $0) })
        let ids = sources.map { FunctionID(name: $0, digest: importedDigest($0)) }
        var cells: [Int: [(row: UInt16, vote: Int16)]] = [:]
        let blockCount = (items.count + blockSize - 1) / blockSize
        for (_, fields) in rows {
            guard let item = itemOf[fields[0]], let source = sourceOf[fields[1]], let vote = classOf[fields[2]] else { continue }
            cells[item / blockSize * sources.count + source, default: []].append((UInt16(item % blockSize), Int16(vote)))
        }
        var matrix = LabelMatrix(classCount: k, functions: ids)
        for block in 0..<blockCount {
            let first = block * blockSize
            let count = min(blockSize, items.count - first)
            let columns = ids.indices.map { j -> VoteColumn in
                var last: (row: UInt16, vote: Int16)?
                var votes: [UInt16] = []
                var classes: [Int16] = []
                // A source that answers twice on one item: its first answer counts.
                let found = (cells[block * sources.count + j] ?? []).enumerated().sorted {
                    ($0.element.row, $0.offset) < ($1.element.row, $1.offset)
                }
                for (_, vote) in found where vote.row != last?.row {
                    votes.append(vote.row)
                    classes.append(vote.vote)
                    last = vote
                }
                return VoteColumn(function: ids[j], votes: PackedVotes(rowCount: count, rows: votes, votes: classes))
            }
            try matrix.insert(VoteBlock(firstSample: first, rowCount: count, classCount: k, columns: columns))
        }
        return ImportedLabelMatrix(matrix: matrix, sampleNames: items, classNames: classNames)
    }

    private static func importedDigest(_ name: String) -> Digest { Digest.of(Array("imported-column/\(name)".utf8)) }
}
