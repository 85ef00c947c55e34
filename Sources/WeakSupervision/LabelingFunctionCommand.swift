package import Datasets
internal import Foundation
package import Primitives

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
            let known = cache?.columns(block: source.digests[number], rows: range.count, classCount: k) ?? []
            var columns: [VoteColumn?]
            if known.map(\.function) == whole.ids {
                columns = known
            } else {
                let byFunction = Dictionary(known.map { ($0.function, $0) }, uniquingKeysWith: { first, _ in first })
                columns = whole.ids.map { byFunction[$0] }
            }
            let missing = columns.indices.filter { columns[$0] == nil }
            let looked = clock.now
            out.cacheSeconds += begin.duration(to: looked).seconds
            out.cachedColumns += columns.count - missing.count
            if !missing.isEmpty {
                let set =
                    try sets[missing] ?? LabelingFunctionSet(specs: missing.map { specs[$0] }, classNames: classNames, context: context)
                sets[missing] = set
                let readsOnlyText = missing.allSatisfy { specs[$0].isTextRule }
                let texts = readsOnlyText ? cache?.texts(block: source.digests[number], rows: range.count) : nil
                let samples = texts == nil ? try source.read(number) : []
                let read = clock.now
                out.readSeconds += looked.duration(to: read).seconds
                let votes: VoteBlock
                if let texts {
                    votes = set.apply(texts: texts, firstSample: range.lowerBound)
                } else {
                    votes = set.apply(samples: samples, firstSample: range.lowerBound)
                }
                let voted = clock.now
                out.functionSeconds += read.duration(to: voted).seconds
                out.computedColumns += missing.count
                for (position, column) in zip(missing, votes.columns) { columns[position] = column }
                if let cache {
                    try cache.store(
                        columns.compactMap { $0 }, others: known, block: source.digests[number], firstSample: range.lowerBound,
                        classCount: k)
                    if readsOnlyText, texts == nil { try cache.store(texts: samples.map { $0?.text }, block: source.digests[number]) }
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
