package import Datasets
internal import Foundation
package import Primitives

/// Columns of votes on disk, by function and by what the samples of a block are: an edited function or a new block computes what
/// is missing and nothing else.
///
/// A file that is torn or damaged counts as missing. Two processes may share a folder: files appear whole, by renaming.
package struct VoteCache: Sendable {
    private let folder: String
    private let classes: Digest

    /// - Parameter folder: made when it is missing.
    package init(folder: String, classNames: [String]) throws(AMAFError) {
        self.folder = folder
        var hasher = DigestHasher()
        hasher.update(field: "classes")
        for name in classNames { hasher.update(field: name) }
        classes = hasher.finish()
        do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
            throw AMAFError(
                "vote-cache.unwritable", "The cache folder cannot be made: \(error.localizedDescription)", place: folder,
                remedy: "Name a folder that can be written.")
        }
    }

    private func path(_ function: Digest, _ block: Digest) -> String {
        var hasher = DigestHasher()
        hasher.update(field: "vote-column")
        for part in [function, block, classes] { hasher.update(digest: part) }
        return "\(folder)/\(hasher.finish().hex).votes"
    }

    package func column(of function: FunctionID, block: Digest, rows: Int, classCount: Int) -> VoteColumn? {
        guard let data = FileManager.default.contents(atPath: path(function.digest, block)),
            let found = try? VoteBlock(decoding: [UInt8](data)), found.rowCount == rows, found.classCount == classCount,
            found.columns.count == 1, found.columns[0].function == function
        else { return nil }
        return found.columns[0]
    }

    /// Faults are not kept: they may be the machine's and not the function's.
    package func store(_ column: VoteColumn, block: Digest, firstSample: Int, classCount: Int) throws(AMAFError) {
        guard column.faults == nil else { return }
        let bytes = VoteBlock(firstSample: firstSample, rowCount: column.votes.rowCount, classCount: classCount, columns: [column])
            .encoded()
        let path = path(column.function.digest, block)
        do { try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw AMAFError(
                "vote-cache.unwritable", "The cache cannot be written: \(error.localizedDescription)", place: path,
                remedy: "Check the space on the disk.")
        }
    }
}

/// `amaf lf apply|list|test|analyze` without the command line.
package enum LabelingFunctionCommand {
    /// Samples by block: `read` is asked only for blocks of which some column is missing.
    package struct Source {
        package var blocks: [Range<Int>]
        /// What the samples of a block are; keys the cache.
        package var digests: [Digest]
        package var read: (_ block: Int) throws -> [Sample?]

        package init(blocks: [Range<Int>], digests: [Digest], read: @escaping (_ block: Int) throws -> [Sample?]) {
            precondition(blocks.count == digests.count, "\(digests.count) digests of \(blocks.count) blocks")
            self.blocks = blocks
            self.digests = digests
            self.read = read
        }

        /// Texts that are in memory.
        package init(texts: [String?], blockSize: Int = 16_384) {
            blocks = stride(from: 0, to: texts.count, by: blockSize).map { $0..<min(texts.count, $0 + blockSize) }
            digests = blocks.map { range in
                var hasher = DigestHasher()
                hasher.update(integer: UInt64(range.lowerBound))
                for text in texts[range] { hasher.update(field: text ?? "") }
                return hasher.finish()
            }
            let ranges = blocks
            read = { block in texts[ranges[block]].enumerated().map { offset, text in text.map { Sample(id: "\(offset)", text: $0) } } }
        }
    }

    package struct Applied {
        package var matrix: LabelMatrix
        /// Cells of the matrix' column-block grid that were computed, and that came from the cache.
        package var computedColumns = 0
        package var cachedColumns = 0
        /// Inside functions; reading samples, and the cache, apart.
        package var functionSeconds = 0.0
        package var readSeconds = 0.0
        package var cacheSeconds = 0.0
        package var faults: [(function: FunctionID, summary: FaultSummary)]
    }

    package static func apply(
        _ specs: [LabelingFunctionSpec], classNames: [String], to source: Source, cache: VoteCache? = nil,
        context: LabelingContext = .ofEnvironment
    ) throws -> Applied {
        let clock = ContinuousClock()
        let whole = try LabelingFunctionSet(specs: specs, classNames: classNames, context: context)
        let k = classNames.count
        var out = Applied(matrix: LabelMatrix(classCount: k, functions: whole.ids), faults: [])
        var sets: [[Int]: LabelingFunctionSet] = [Array(specs.indices): whole]
        for (number, range) in source.blocks.enumerated() {
            let begin = clock.now
            var columns = whole.ids.map { id in
                cache?.column(of: id, block: source.digests[number], rows: range.count, classCount: k)
            }
            let missing = columns.indices.filter { columns[$0] == nil }
            let looked = clock.now
            out.cacheSeconds += begin.duration(to: looked).seconds
            out.cachedColumns += columns.count - missing.count
            if !missing.isEmpty {
                let samples = try source.read(number)
                let read = clock.now
                out.readSeconds += looked.duration(to: read).seconds
                let set =
                    try sets[missing] ?? LabelingFunctionSet(specs: missing.map { specs[$0] }, classNames: classNames, context: context)
                sets[missing] = set
                let votes = set.apply(samples: samples, firstSample: range.lowerBound)
                let voted = clock.now
                out.functionSeconds += read.duration(to: voted).seconds
                out.computedColumns += missing.count
                for (position, column) in zip(missing, votes.columns) {
                    columns[position] = column
                    try cache?.store(column, block: source.digests[number], firstSample: range.lowerBound, classCount: k)
                }
                out.cacheSeconds += voted.duration(to: clock.now).seconds
            }
            try out.matrix.insert(
                VoteBlock(firstSample: range.lowerBound, rowCount: range.count, classCount: k, columns: columns.compactMap { $0 }))
        }
        out.faults = zip(out.matrix.functions, out.matrix.faults).compactMap { id, fault in fault.map { (id, $0) } }
        return out
    }

    /// Which of the samples a function votes on, and for what: at most `limit` examples a class, and faults with their error.
    package static func test(
        _ spec: LabelingFunctionSpec, classNames: [String], samples: [Sample?], limit: Int = 5, context: LabelingContext = .ofEnvironment
    ) throws(AMAFError) -> (examples: [(row: Int, className: String?)], column: VoteColumn) {
        let set = try LabelingFunctionSet(specs: [spec], classNames: classNames, context: context)
        let column = set.apply(samples: samples).columns[0]
        var shown: [Int16: Int] = [:]
        var out: [(row: Int, className: String?)] = []
        column.votes.forEach { row, vote in
            guard shown[vote, default: 0] < limit else { return }
            shown[vote, default: 0] += 1
            out.append((row, vote >= 0 ? classNames[Int(vote)] : nil))
        }
        return (out, column)
    }
}
