import Foundation
import Primitives
import Testing
import WeakSupervision

/// Random small matrices for tests.
enum Sketch {
    static func id(_ name: String) -> FunctionID { FunctionID(name: name, digest: Digest.of(Array(name.utf8))) }

    static func block(first: Int, rows: Int, classes: Int, functions: [FunctionID], coverage: Double = 0.4, seed: UInt64) -> VoteBlock {
        let columns = functions.map { id in
            var chance = SeededGenerator(seed: seed, stream: id.name, "\(first)")
            let cells = (0..<rows).map { _ in chance.uniform() < coverage ? Int16(chance.index(below: classes)) : VoteCode.abstain }
            return VoteColumn(function: id, votes: PackedVotes(cells: cells))
        }
        return VoteBlock(firstSample: first, rowCount: rows, classCount: classes, columns: columns)
    }
}

@Suite struct LabelMatrixTests {
    @Test(arguments: [0.02, 0.2, 0.9], [3, 150, 400])
    func packingKeepsEveryCell(coverage: Double, classes: Int) throws {
        var chance = SeededGenerator(seed: 3, stream: "\(coverage)", "\(classes)")
        let cells = (0..<500).map { _ in
            chance.uniform() < coverage
                ? (chance.uniform() < 0.05 ? VoteCode.fault : Int16(chance.index(below: classes))) : VoteCode.abstain
        }
        let packed = PackedVotes(cells: cells)
        #expect(packed.cells == cells)
        #expect(cells.indices.allSatisfy { packed[$0] == cells[$0] })
        let block = VoteBlock(
            firstSample: 5, rowCount: 500, classCount: classes, columns: [VoteColumn(function: Sketch.id("f"), votes: packed)])
        let bytes = block.encoded()
        #expect(try VoteBlock(decoding: bytes) == block)
        for end in stride(from: 0, to: bytes.count, by: 37) {
            #expect(throws: AMAFError.self) { try VoteBlock(decoding: Array(bytes[..<end])) }
        }
    }

    @Test func damagedBlocksAreRefusedNotTrusted() {
        let bytes = Sketch.block(first: 0, rows: 40, classes: 3, functions: [Sketch.id("f"), Sketch.id("g")], seed: 1).encoded()
        var chance = SeededGenerator(seed: 2)
        for _ in 0..<2000 {
            var copy = bytes
            for _ in 0..<1 + chance.index(below: 3) { copy[chance.index(below: copy.count)] = UInt8(chance.index(below: 256)) }
            _ = try? VoteBlock(decoding: copy)
        }
    }

    @Test func mergingIsAUnionInAnyOrder() throws {
        let functions = ["c", "a", "b"].map(Sketch.id)
        let blocks = (0..<6).flatMap { b in
            functions.map { Sketch.block(first: b * 50, rows: 50, classes: 4, functions: [$0], seed: 9) }
        }
        var reference = LabelMatrix(classCount: 4, functions: functions)
        for block in blocks { try reference.insert(block) }
        for seed in 0..<20 {
            var chance = SeededGenerator(seed: UInt64(seed))
            var order = blocks + blocks.prefix(chance.index(below: 8))
            chance.shuffle(&order)
            let cut = chance.index(below: order.count)
            var left = LabelMatrix(classCount: 4, functions: functions)
            var right = left
            for block in order[..<cut] { try left.insert(block) }
            for block in order[cut...] { try right.insert(block) }
            var both = left
            try both.merge(right)
            var other = right
            try other.merge(left)
            #expect(both == reference && other == reference)
        }
        // Without a declared order the columns are sorted, whoever came first.
        var open1 = LabelMatrix(classCount: 4, functions: [])
        var open2 = open1
        for block in blocks { try open1.insert(block) }
        for block in blocks.reversed() { try open2.insert(block) }
        #expect(open1 == open2 && open1.functions == functions.sorted())
        #expect(open1.missing.isEmpty)
    }

    @Test func contradictionsAndCutsAreErrors() throws {
        let f = Sketch.id("f")
        var matrix = LabelMatrix(classCount: 3, functions: [f])
        try matrix.insert(Sketch.block(first: 0, rows: 50, classes: 3, functions: [f], seed: 1))
        for (bad, code) in [
            (Sketch.block(first: 0, rows: 50, classes: 3, functions: [f], seed: 2), "label-matrix.conflict"),
            (Sketch.block(first: 0, rows: 49, classes: 3, functions: [f], seed: 1), "label-matrix.block-cut"),
            (Sketch.block(first: 49, rows: 10, classes: 3, functions: [f], seed: 1), "label-matrix.block-cut"),
            (Sketch.block(first: 50, rows: 10, classes: 4, functions: [f], seed: 1), "label-matrix.class-count"),
        ] {
            let error = #expect(throws: AMAFError.self) { try matrix.insert(bad) }
            #expect(error?.code == code)
        }
    }

    @Test func numpyFilesComeBack() throws {
        let functions = ["x", "y", "z"].map(Sketch.id)
        var matrix = LabelMatrix(classCount: 150, functions: functions)
        for b in 0..<3 { try matrix.insert(Sketch.block(first: b * 100, rows: 100, classes: 150, functions: functions, seed: 4)) }
        let folder = FileManager.default.temporaryDirectory.appending(path: "amaf-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for name in ["m.npz", "m.npy"] {
            try matrix.writeNumPy(to: "\(folder)/\(name)")
            let back = try ImportedLabelMatrix.read("\(folder)/\(name)", classCount: 150).matrix
            #expect(back.sampleCount == 300)
            for row in [0, 99, 100, 250, 299] {
                for j in 0..<3 { #expect(back.blocks[0].columns[j]?.votes[row] == matrix.blocks[row / 100].columns[j]?.votes[row % 100]) }
            }
        }
        try matrix.writeCSV(to: "\(folder)/m.csv", classNames: (0..<150).map(String.init))
        let back = try ImportedLabelMatrix.read("\(folder)/m.csv", classCount: 150)
        #expect(back.matrix.voteCount == matrix.voteCount && back.matrix.functions.map(\.name) == ["x", "y", "z"])

        var broken = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/m.npz"))
        broken[200] ^= 1
        try broken.write(to: URL(fileURLWithPath: "\(folder)/b.npz"))
        let error = #expect(throws: AMAFError.self) { try ImportedLabelMatrix.read("\(folder)/b.npz") }
        #expect(error?.code == "numpy.unreadable")
    }

    @Test func analysisFollowsItsDefinitionsOnAnExampleByHand() throws {
        // Rows: two agree; two differ; one alone; none.
        let f = Sketch.id("f")
        let g = Sketch.id("g")
        let block = VoteBlock(
            firstSample: 0, rowCount: 4, classCount: 2,
            columns: [
                VoteColumn(function: f, votes: PackedVotes(cells: [0, 0, 1, -1])),
                VoteColumn(function: g, votes: PackedVotes(cells: [0, 1, -1, -1])),
            ])
        var matrix = LabelMatrix(classCount: 2, functions: [f, g])
        try matrix.insert(block)
        let gold = [0, 1, 1, 0]
        let analysis = LFAnalysis(LFStatistics(matrix) { gold[$0] })
        #expect(analysis.coverage == 0.75 && analysis.overlap == 0.5 && analysis.conflict == 0.25)
        #expect(analysis.rows[0].polarity == [0, 1] && analysis.rows[0].coverage == 0.75 && analysis.rows[0].overlaps == 0.5)
        #expect(analysis.rows[0].conflicts == 0.25 && analysis.rows[0].correct == 2 && analysis.rows[0].incorrect == 1)
        #expect(analysis.rows[1].empiricalAccuracy == 1)
        let interval = try #require(analysis.rows[0].accuracyInterval)
        // Wilson, 2 of 3: (0.2077, 0.9385).
        #expect(abs(interval.lowerBound - 0.2077) < 1e-4 && abs(interval.upperBound - 0.9385) < 1e-4)
    }

    @Test func statisticsOfBlocksAddUp() throws {
        let functions = ["x", "y", "z"].map(Sketch.id)
        var whole = LabelMatrix(classCount: 3, functions: functions)
        for b in 0..<4 { try whole.insert(Sketch.block(first: b * 64, rows: 64, classes: 3, functions: functions, seed: 4)) }
        let gold = { (sample: Int) -> Int? in sample % 5 == 0 ? nil : sample % 3 }
        var sum = LFStatistics(functions: functions)
        for block in whole.blocks.reversed() { sum.merge(LFStatistics(VoteRows(block, classCount: 3), functions: functions, gold: gold)) }
        #expect(sum == LFStatistics(whole, gold: gold))
        #expect(sum.samples == 256)
    }

    /// Snorkel's columns on every shared set, to 1e-9 (Generators/lf_analysis.py).
    @Test func analysisEqualsSnorkels() throws {
        struct Table: Decodable {
            struct Row: Decodable {
                var polarity: [Int]
                var numbers: [Double]
                init(from decoder: any Decoder) throws {
                    var fields = try decoder.unkeyedContainer()
                    polarity = try fields.decode([Int].self)
                    numbers = []
                    while !fields.isAtEnd { numbers.append(try fields.decode(Double.self)) }
                }
            }
            var coverage: Double
            var overlap: Double
            var conflict: Double
            var rows: [Row]
        }
        let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/lf-analysis.json")
        let tables = try JSONDecoder().decode([String: Table].self, from: Data(contentsOf: golden))
        for (name, table) in tables.sorted(by: { $0.key < $1.key }) {
            let votes: [[Int]]
            let gold: [Int]
            if name == "sst2" {
                guard let csv = SharedData.bytes("weak-supervision/sst2-weak-signals/train.csv") else { return }
                let rows = String(decoding: csv, as: UTF8.self).split(whereSeparator: \.isNewline).dropFirst()
                    .map { $0.split(separator: ",").compactMap { Double($0).map { Int($0) } } }
                votes = rows.map { Array($0.dropFirst()) }
                gold = rows.map { $0[0] }
            } else {
                let parts = name.split(separator: "/").map(String.init)
                guard let rows = try SharedData.wrench(parts[0], parts[1]) else { return }
                votes = rows.map(\.weak_labels)
                gold = rows.map(\.label)
            }
            let m = votes[0].count
            var matrix = LabelMatrix(classCount: 6, functions: (0..<m).map { Sketch.id("lf\($0)") })
            for first in stride(from: 0, to: votes.count, by: 256) {
                let part = votes[first..<min(votes.count, first + 256)]
                let columns = (0..<m).map { j in
                    VoteColumn(function: matrix.functions[j], votes: PackedVotes(cells: part.map { Int16($0[j]) }))
                }
                try matrix.insert(VoteBlock(firstSample: first, rowCount: part.count, classCount: 6, columns: columns))
            }
            let analysis = LFAnalysis(LFStatistics(matrix) { gold[$0] })
            #expect(abs(analysis.coverage - table.coverage) < 1e-9 && abs(analysis.overlap - table.overlap) < 1e-9, "\(name)")
            #expect(abs(analysis.conflict - table.conflict) < 1e-9, "\(name)")
            for (row, wanted) in zip(analysis.rows, table.rows) {
                #expect(row.polarity == wanted.polarity)
                let ours = [row.coverage, row.overlaps, row.conflicts, Double(row.correct), Double(row.incorrect), row.empiricalAccuracy]
                for (x, y) in zip(ours, wanted.numbers) { #expect(abs(x - y) < 1e-9, "\(name) \(row.function)") }
            }
        }
    }
}
