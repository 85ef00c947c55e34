package import Primitives

extension DatasetIndex {
    /// Reads one block from the whole source.
    ///
    /// - Throws: `dataset.changed` when the file is not the one that was indexed.
    package func readBlock(_ block: Int, from source: MappedFile) throws(AMAFError) -> BlockContents {
        guard source.byteCount == sourceByteCount else {
            throw changed("has \(source.byteCount) bytes where \(sourceByteCount) were indexed")
        }
        return try source.withBytes { (bytes) throws(AMAFError) in
            try readBlock(block) { UnsafeRawBufferPointer(rebasing: bytes[$0.bytes]) }
        }
    }

    /// Reads one block from its own bytes: one array for each of `blocks[block]`, in that order.
    package func readBlock(_ block: Int, segments: [[UInt8]]) throws(AMAFError) -> BlockContents {
        precondition(
            segments.count == blocks[block].count, "\(segments.count) segments for block \(block), which has \(blocks[block].count)")
        // One buffer, so that the pointers below stay valid together.
        let whole = segments.flatMap { $0 }
        let result: Result<BlockContents, AMAFError> = whole.withUnsafeBytes { buffer in
            var start = 0
            var parts: [UnsafeRawBufferPointer] = []
            for segment in segments {
                parts.append(UnsafeRawBufferPointer(rebasing: buffer[start..<start + segment.count]))
                start += segment.count
            }
            var next = 0
            do throws(AMAFError) {
                return .success(
                    try readBlock(block) { _ in
                        defer { next += 1 }
                        return parts[next]
                    })
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func changed(_ how: String) -> AMAFError {
        AMAFError(
            "dataset.changed", "The data set \(how)", place: name,
            remedy: "The file changed since it was indexed: run again to index it anew.")
    }

    private func readBlock(_ block: Int, _ bytes: (Segment) -> UnsafeRawBufferPointer) throws(AMAFError) -> BlockContents {
        let range = plan.range(ofBlock: block)
        var reader = BlockReader(index: self, firstPosition: range.lowerBound, count: range.count)
        let roles = FieldRoles(format.fields)
        for segment in blocks[block] {
            let part = bytes(segment)
            let offset = segment.bytes.lowerBound
            switch format.kind {
            case .clinc150:
                reader.drain(
                    ClincCursor(part, offset: offset, line: segment.line, row: segment.row, split: segment.split), stem: segment.split)
            case .csv:
                reader.drain(
                    CSVCursor(
                        part, offset: offset, line: segment.line, row: segment.row, delimiter: try format.delimiterByte(), columns: columns,
                        fields: roles))
            case .jsonl: reader.drain(JSONLinesCursor(part, offset: offset, line: segment.line, row: segment.row, fields: roles))
            case .textLines: reader.drain(TextLinesCursor(part, offset: offset, line: segment.line, row: segment.row))
            case .textFolder: reader.drain(TextPackCursor(part, offset: offset, row: segment.row))
            case .imageFolder, .idx, .npz, .imageCSV, .chexpert:
                reader.drain(ImagePackCursor(part, offset: offset, row: segment.row))
            }
        }
        guard reader.samples.count == range.count else {
            throw changed("has \(reader.samples.count) rows in block \(block) where \(range.count) were indexed")
        }
        return reader.finish()
    }
}

/// Makes the samples of one block from its rows.
private struct BlockReader {
    private let index: DatasetIndex
    private let firstPosition: Int
    private let count: Int
    private let classIndex: [String: Int32]
    private let duplicates: Set<Int>
    private let stem: String
    private(set) var samples: [Sample] = []
    private var labels: [Int32] = []
    private var quarantined: [QuarantinedRow] = []
    private var pictures: [ImagePayload?] = []
    private var cells: [LabelCell] = []
    private var labelSet: LabelSetFormat? { index.labelSet }

    init(index: DatasetIndex, firstPosition: Int, count: Int) {
        self.index = index
        self.firstPosition = firstPosition
        self.count = count
        classIndex = Dictionary(index.classNames.enumerated().map { ($1, Int32($0)) }, uniquingKeysWith: { first, _ in first })
        duplicates = Set(index.duplicates.filter { $0 >= firstPosition && $0 < firstPosition + count })
        stem = index.name.split(separator: ".").first.map(String.init) ?? index.name
        samples.reserveCapacity(count)
        labels.reserveCapacity(count)
    }

    mutating func drain(_ cursor: some RowCursor, stem: String? = nil) {
        var cursor = cursor
        // A file that grew may have more rows than were indexed; the count above notices fewer.
        while samples.count < count, let located = cursor.next() {
            switch located.content {
            case .failure(let fault): setAside(located, fault)
            case .success(let row):
                guard index.format.selects(row) else { continue }
                if duplicates.contains(firstPosition + samples.count) {
                    setAside(located, .duplicateID(row.id ?? ""))
                } else {
                    add(row, located, stem: stem ?? self.stem)
                }
            }
        }
    }

    private mutating func add(_ row: Row, _ located: LocatedRow, stem: String) {
        var gold = GoldBlock.unknown
        if let labelSet {
            cells += LabelCell.cells(code: row.label ?? "", count: labelSet.names.count) ?? labelSet.names.map { _ in .unknown }
        } else if let label = row.label, label != index.format.outOfScopeLabel {
            guard let known = classIndex[label] else { return setAside(located, .unknownLabel(label)) }
            gold = known
        }
        samples.append(
            Sample(
                id: row.id ?? "\(stem)-\(padded(located.row + 1))", text: row.text, image: row.image.map { SampleImage(reference: $0) },
                sensor: row.sensor.map { SensorSeries(reference: $0) }, metadata: row.metadata))
        labels.append(gold)
        if index.format.kind.holdsImages { pictures.append(row.picture?.owned) }
    }

    private mutating func setAside(_ located: LocatedRow, _ fault: RowFault) {
        let position = firstPosition + samples.count
        let place = located.place ?? "\(index.name):\(located.line)"
        quarantined.append(QuarantinedRow(position: position, place: place, code: fault.code, reason: fault.reason))
        samples.append(Sample(id: "quarantined-\(padded(position))", text: ""))
        labels.append(GoldBlock.unknown)
        if let labelSet { cells += labelSet.names.map { _ in .unknown } }
        if index.format.kind.holdsImages { pictures.append(nil) }
    }

    func finish() -> BlockContents {
        BlockContents(
            samples: SampleBlock(firstPosition: firstPosition, samples: samples, quarantined: quarantined),
            gold: GoldBlock(firstPosition: firstPosition, labels: labels), pictures: pictures,
            labelSets: labelSet.map { LabelSetBlock(firstPosition: firstPosition, labels: $0.names.count, cells: cells) })
    }

    /// Six digits, so that ids sort as their rows do.
    private func padded(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 6 - digits.count)) + digits
    }
}
