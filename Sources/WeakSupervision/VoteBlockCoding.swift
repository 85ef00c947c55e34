package import Primitives

// Binary form of a vote block, little-endian, fields in this order:
//   magic "AMVB", version u16 = 1, firstSample u64, rowCount u32, classCount u32, columnCount u32, then a column:
//   name (u32 length, UTF-8), digest (32 bytes), form u8 (0 sparse, 1 Int8 cells, 2 Int16 cells), count u32, the votes,
//   score mark u8 and Float32 scores, fault count u32 and, if not 0, first sample u64, code, message, remedy, transient u8.

extension VoteBlock {
    private static let magic: UInt32 = 0x4256_4D41
    private static let version: UInt16 = 1

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 64 + columns.reduce(0) { $0 + 80 + $1.votes.byteCount })
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt64(firstSample))
        writer.write(UInt32(rowCount))
        writer.write(UInt32(classCount))
        writer.write(UInt32(columns.count))
        for column in columns {
            writer.write(column.function.name)
            writer.append(raw: column.function.digest.bytes)
            switch column.votes.storage {
            case .sparse(let rows, let votes):
                writer.write(UInt8(0))
                writer.write(UInt32(rows.count))
                writer.write(array: rows)
                writer.write(array: votes)
            case .dense8(let cells):
                writer.write(UInt8(1))
                writer.write(UInt32(cells.count))
                writer.write(array: cells)
            case .dense16(let cells):
                writer.write(UInt8(2))
                writer.write(UInt32(cells.count))
                writer.write(array: cells)
            }
            if let scores = column.scores {
                writer.write(UInt8(1))
                writer.write(UInt32(scores.count))
                writer.write(array: scores)
            } else {
                writer.write(UInt8(0))
            }
            writer.write(UInt32(column.faults?.count ?? 0))
            if let faults = column.faults {
                writer.write(UInt64(faults.firstSample))
                writer.write(faults.firstError.code)
                writer.write(faults.firstError.message)
                writer.write(faults.firstError.remedy)
                writer.write(UInt8(faults.firstError.isTransient ? 1 : 0))
            }
        }
        return writer.bytes
    }

    /// - Throws: `artifact.truncated` or `artifact.not-a-vote-block`; bytes from elsewhere can never trap.
    package init(decoding bytes: UnsafeRawBufferPointer) throws(AMAFError) {
        var reader = ByteReader(bytes, of: "vote block")
        guard try reader.read(UInt32.self) == Self.magic, try reader.read(UInt16.self) == Self.version else {
            throw Self.damaged("does not begin as one of version \(Self.version)")
        }
        let first = try reader.read(UInt64.self)
        let rowCount = Int(try reader.read(UInt32.self))
        let classCount = Int(try reader.read(UInt32.self))
        let columnCount = Int(try reader.read(UInt32.self))
        guard first < 1 << 48, rowCount <= PackedVotes.maximumRowCount, (1...VoteCode.maximumClassCount).contains(classCount) else {
            throw Self.damaged("claims \(rowCount) rows from \(first) and \(classCount) classes")
        }
        var columns: [VoteColumn] = []
        for _ in 0..<columnCount {
            let name = try reader.readString()
            let digest = Digest(bytes: try reader.readRaw(Digest.byteCount))
            let form = try reader.read(UInt8.self)
            let count = Int(try reader.read(UInt32.self))
            var rows: [UInt16] = []
            var votes: [Int16] = []
            switch form {
            case 0:
                rows = try reader.readArray(count: count)
                votes = try reader.readArray(count: count)
            case 1, 2:
                guard count == rowCount else { throw Self.damaged("has \(count) cells for \(rowCount) rows") }
                let cells = form == 1 ? try reader.readArray(Int8.self, count: count).map(Int16.init) : try reader.readArray(count: count)
                for (row, vote) in cells.enumerated() where vote != VoteCode.abstain {
                    rows.append(UInt16(row))
                    votes.append(vote)
                }
            default: throw Self.damaged("has a column of the unknown form \(form)")
            }
            var previous = -1
            for (row, vote) in zip(rows, votes) {
                guard Int(row) > previous, Int(row) < rowCount, vote == VoteCode.fault || (vote >= 0 && Int(vote) < classCount) else {
                    throw Self.damaged("holds the vote \(vote) at row \(row)")
                }
                previous = Int(row)
            }
            var scores: [Float]?
            if try reader.read(UInt8.self) == 1 {
                let scoreCount = Int(try reader.read(UInt32.self))
                guard scoreCount == rows.count else { throw Self.damaged("has \(scoreCount) scores for \(rows.count) votes") }
                scores = try reader.readArray(count: scoreCount)
            }
            var faults: FaultSummary?
            let faultCount = Int(try reader.read(UInt32.self))
            if faultCount > 0 {
                let sample = try reader.read(UInt64.self)
                let code = try reader.readString()
                let message = try reader.readString()
                let remedy = try reader.readString()
                let transient = try reader.read(UInt8.self) == 1
                faults = FaultSummary(
                    count: faultCount, firstSample: Int(clamping: sample),
                    firstError: AMAFError(code, message, remedy: remedy, isTransient: transient))
            }
            columns.append(
                VoteColumn(
                    function: FunctionID(name: name, digest: digest), votes: PackedVotes(rowCount: rowCount, rows: rows, votes: votes),
                    scores: scores, faults: faults))
        }
        guard reader.remaining == 0 else { throw Self.damaged("is followed by \(reader.remaining) bytes that do not belong to it") }
        self.init(firstSample: Int(first), rowCount: rowCount, classCount: classCount, columns: columns)
    }

    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try bytes.withBytes { (buffer) throws(AMAFError) in try VoteBlock(decoding: buffer) }
    }

    private static func damaged(_ what: String) -> AMAFError {
        AMAFError("artifact.not-a-vote-block", "A vote block \(what)", remedy: "Delete the artifact and run again.")
    }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes` that keeps the type of what is thrown.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(AMAFError) -> R) throws(AMAFError) -> R {
        let result: Result<R, AMAFError> = withUnsafeBytes { buffer in
            do throws(AMAFError) { return .success(try body(buffer)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
