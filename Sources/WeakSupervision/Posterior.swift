package import Primitives

/// What a label model believes of one sample: probabilities of its likeliest classes and the mass left for all others.
package struct Posterior: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package var classIndex: Int
        package var probability: Float

        package init(classIndex: Int, probability: Float) {
            self.classIndex = classIndex
            self.probability = probability
        }
    }
    package var classCount: Int
    /// Descending by probability, then ascending by class; empty for a sample that no function voted on.
    package var entries: [Entry]
    /// Whether any function voted. An uncovered sample has no label, whatever the class balance.
    package var isCovered: Bool
    /// Whether two or more classes are exactly as likely as the first.
    package var isTied: Bool

    package init(classCount: Int, entries: [Entry], isCovered: Bool, isTied: Bool) {
        self.classCount = classCount
        self.entries = entries
        self.isCovered = isCovered
        self.isTied = isTied
    }

    /// Mass of the classes not in `entries`; taken to be spread evenly over them.
    package var remainder: Float { max(0, 1 - entries.reduce(0) { $0 + $1.probability }) }

    /// The one likeliest class; nil for uncovered and tied samples.
    package var label: Int? { isTied ? nil : entries.first?.classIndex }

    /// The likeliest class, the lowest index among tied ones; nil for uncovered samples only.
    package var firstChoice: Int? { entries.first?.classIndex }

    package func probability(of classIndex: Int) -> Float {
        if let entry = entries.first(where: { $0.classIndex == classIndex }) { return entry.probability }
        return entries.count < classCount ? remainder / Float(classCount - entries.count) : 0
    }

    /// All K probabilities.
    package var dense: [Float] {
        var out = [Float](repeating: entries.count < classCount ? remainder / Float(classCount - entries.count) : 0, count: classCount)
        for entry in entries { out[entry.classIndex] = entry.probability }
        return out
    }
}

/// Posteriors of consecutive samples, the `top` likeliest classes each: memory does not grow with the number of classes.
package struct PosteriorBlock: Hashable, Sendable {
    package private(set) var firstSample: Int
    package private(set) var classCount: Int
    private var flags: [UInt8] = []
    private var offsets: [UInt32] = [0]
    private var classes: [UInt16] = []
    private var probabilities: [Float] = []

    package init(firstSample: Int, classCount: Int) {
        precondition(classCount > 0 && classCount <= VoteCode.maximumClassCount, "\(classCount) classes")
        self.firstSample = firstSample
        self.classCount = classCount
    }

    /// Two classes, from the kernel's masses.
    init(firstSample: Int, massOfClassOne mass: [Int32], uncovered: [Int32]) {
        self.init(firstSample: firstSample, classCount: 2)
        let n = mass.count
        let entries = 2 * (n - uncovered.count)
        let half: Int32 = 1 << 23
        let unit = Float(1 / FixedPoint.massScale)
        var isSilent = [Bool](repeating: false, count: n)
        for row in uncovered { isSilent[Int(row)] = true }
        flags = [UInt8](unsafeUninitializedCapacity: n) { out, count in
            for i in 0..<n { out[i] = isSilent[i] ? 0 : mass[i] == half ? 3 : 1 }
            count = n
        }
        offsets = [UInt32](unsafeUninitializedCapacity: n + 1) { out, count in
            var next: UInt32 = 0
            out[0] = 0
            for i in 0..<n {
                next += isSilent[i] ? 0 : 2
                out[i + 1] = next
            }
            count = n + 1
        }
        classes = [UInt16](unsafeUninitializedCapacity: entries) { out, count in
            var at = 0
            for i in 0..<n where !isSilent[i] {
                let first: UInt16 = mass[i] > half ? 1 : 0
                out[at] = first
                out[at + 1] = 1 - first
                at += 2
            }
            count = entries
        }
        probabilities = [Float](unsafeUninitializedCapacity: entries) { out, count in
            var at = 0
            for i in 0..<n where !isSilent[i] {
                let one = Float(mass[i]) * unit
                out[at] = max(one, 1 - one)
                out[at + 1] = min(one, 1 - one)
                at += 2
            }
            count = entries
        }
    }

    package var rowCount: Int { flags.count }
    package var samples: Range<Int> { firstSample..<firstSample + rowCount }
    package var coveredCount: Int { flags.reduce(0) { $0 + Int($1 & 1) } }

    package mutating func reserve(rows: Int, entries: Int) {
        flags.reserveCapacity(rows)
        offsets.reserveCapacity(rows + 1)
        classes.reserveCapacity(entries)
        probabilities.reserveCapacity(entries)
    }

    package mutating func append(_ posterior: Posterior) {
        precondition(posterior.classCount == classCount, "\(posterior.classCount) classes among \(classCount)")
        for entry in posterior.entries { addEntry(entry.classIndex, entry.probability) }
        endRow(isCovered: posterior.isCovered, isTied: posterior.isTied)
    }

    @inline(__always)
    mutating func addEntry(_ classIndex: Int, _ probability: Float) {
        classes.append(UInt16(classIndex))
        probabilities.append(probability)
    }

    @inline(__always)
    mutating func endRow(isCovered: Bool, isTied: Bool) {
        flags.append((isCovered ? 1 : 0) | (isTied ? 2 : 0))
        offsets.append(UInt32(classes.count))
    }

    package subscript(row: Int) -> Posterior {
        let range = Int(offsets[row])..<Int(offsets[row + 1])
        return Posterior(
            classCount: classCount, entries: range.map { .init(classIndex: Int(classes[$0]), probability: probabilities[$0]) },
            isCovered: flags[row] & 1 != 0, isTied: flags[row] & 2 != 0)
    }

    package func firstChoice(row: Int) -> Int? {
        offsets[row] < offsets[row + 1] ? Int(classes[Int(offsets[row])]) : nil
    }
    package func label(row: Int) -> Int? { flags[row] & 2 != 0 ? nil : firstChoice(row: row) }
    package func isCovered(row: Int) -> Bool { flags[row] & 1 != 0 }
    package func isTied(row: Int) -> Bool { flags[row] & 2 != 0 }

    package func probability(of classIndex: Int, row: Int) -> Float {
        var rest: Float = 1
        let range = Int(offsets[row])..<Int(offsets[row + 1])
        for i in range {
            if Int(classes[i]) == classIndex { return probabilities[i] }
            rest -= probabilities[i]
        }
        return range.count < classCount ? max(0, rest) / Float(classCount - range.count) : 0
    }

    // MARK: Codec: magic "AMPB", version u16 = 1, firstSample u64, classCount u32, rowCount u32, flags, entry counts u16, classes u16, Float32.

    private static let magic: UInt32 = 0x4250_4D41
    private static let version: UInt16 = 1

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 32 + rowCount * 3 + classes.count * 6)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt64(firstSample))
        writer.write(UInt32(classCount))
        writer.write(UInt32(rowCount))
        writer.write(array: flags)
        writer.write(array: zip(offsets, offsets.dropFirst()).map { UInt16($1 - $0) })
        writer.write(array: classes)
        writer.write(array: probabilities)
        return writer.bytes
    }

    /// - Throws: `artifact.truncated` or `artifact.not-a-posterior-block`; bytes from elsewhere can never trap.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try bytes.withBytes { (buffer) throws(AMAFError) in try PosteriorBlock(decoding: buffer) }
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(AMAFError) {
        func damaged(_ what: String) -> AMAFError {
            AMAFError("artifact.not-a-posterior-block", "A posterior block \(what)", remedy: "Delete the artifact and run again.")
        }
        var reader = ByteReader(bytes, of: "posterior block")
        guard try reader.read(UInt32.self) == Self.magic, try reader.read(UInt16.self) == Self.version else {
            throw damaged("does not begin as one of version \(Self.version)")
        }
        let first = try reader.read(UInt64.self)
        let classCount = Int(try reader.read(UInt32.self))
        let rowCount = Int(try reader.read(UInt32.self))
        guard first < 1 << 48, (1...VoteCode.maximumClassCount).contains(classCount) else {
            throw damaged("claims \(classCount) classes and rows from \(first)")
        }
        self.init(firstSample: Int(first), classCount: classCount)
        flags = try reader.readArray(count: rowCount)
        let counts: [UInt16] = try reader.readArray(count: rowCount)
        offsets.reserveCapacity(rowCount + 1)
        var total: UInt32 = 0
        for count in counts {
            guard Int(count) <= classCount else { throw damaged("has \(count) entries in a row of \(classCount) classes") }
            total += UInt32(count)
            offsets.append(total)
        }
        classes = try reader.readArray(count: Int(total))
        probabilities = try reader.readArray(count: Int(total))
        guard classes.allSatisfy({ Int($0) < classCount }) else { throw damaged("names a class beyond its \(classCount)") }
        guard probabilities.allSatisfy({ $0 >= 0 && $0 <= 1 }) else { throw damaged("holds a number that is no probability") }
        guard reader.remaining == 0 else { throw damaged("is followed by \(reader.remaining) bytes that do not belong to it") }
    }
}
