import Datasets
import Foundation
import Primitives
import Testing

/// Several labels a sample, out of tables.
@Suite struct LabelSetTests {
    private func read(_ table: [String], _ format: DatasetFormat, as name: String) throws -> (DatasetIndex, [BlockContents]) {
        let scratch = try ScratchFolder()
        try scratch.write("set/\(name)", table.joined(separator: "\n"))
        for i in 0..<8 { try scratch.write("set/\(i).jpg", JPEGCodec.encode([0, 1, 2, 3], width: 2, height: 2, channels: 1, quality: 90)) }
        let path = format.kind == .chexpert ? "\(scratch.path)/set" : "\(scratch.path)/set/\(name)"
        let source = try DatasetSource.prepare(path, format: format, scratch: scratch.path)
        let index = try source.index(blockSize: 3)
        let file = try MappedFile(source.path)
        return (index, try (0..<index.plan.blockCount).map { try index.readBlock($0, from: file) })
    }

    private static let a: LabelCell = .absent
    private static let p: LabelCell = .present
    private static let u: LabelCell = .unknown

    @Test(arguments: [
        (ImageRows.Uncertain.ignore, LabelSetFormat.Blank.ignore, [LabelCell.unknown, .unknown]),
        (.zeros, .ignore, [.takenAsAbsent, .unknown]), (.ones, .zeros, [.takenAsPresent, .takenAsAbsent]),
    ])
    func uncertainAndBlankCellsTeachAndAreNoTruth(
        uncertain: ImageRows.Uncertain, blank: LabelSetFormat.Blank, cells: [LabelCell]
    ) throws {
        let columns = ["Path", "Sex"] + ChexpertObservations.names
        func row(_ i: Int, _ edema: String, _ fracture: String) -> String {
            (["\(i).jpg", "Male"] + ChexpertObservations.names.map { $0 == "Edema" ? edema : $0 == "Fracture" ? fracture : "1.0" })
                .joined(separator: ",")
        }
        let table = [columns.joined(separator: ","), row(0, "1.0", "0.0"), row(1, "-1.0", ""), row(2, "2.0", "0"), row(9, "1", "1")]
        var format = DatasetFormat(.chexpert, splits: ["train"])
        format.images = ImageRows(
            uncertain: uncertain, labels: LabelSetFormat(names: ["Edema", "Fracture"], source: .columns, blank: blank))
        let (index, blocks) = try read(table, format, as: "train.csv")
        #expect(index.classNames == ["Edema", "Fracture"] && index.samples == 4)
        let sets = try #require(blocks[0].labelSets)
        #expect(Array(sets[row: 0]) == [Self.p, Self.a])
        #expect(Array(sets[row: 1]) == cells)
        #expect(cells.allSatisfy { $0.truth == nil }, "neither uncertain nor blank may be judged by")
        #expect(cells.map(\.taught) == [uncertain == .ignore ? nil : uncertain == .ones, blank == .zeros ? false : nil])
        #expect(Array(sets[row: 2]) == [Self.u, Self.u], "a cell that is none of 1, 0, -1 and blank sets the row aside")
        #expect(Array(try #require(blocks[1].labelSets)[row: 0]) == [Self.u, Self.u], "a row that points nowhere")
        #expect(index.quarantine.map(\.code) == ["dataset.unknown-label", "image.missing-file"])
        #expect(index.labelledRows == (cells.contains { $0.taught != nil } ? 2 : 1))
        #expect(blocks[0].gold.labels.allSatisfy { $0 == GoldBlock.unknown })
        #expect(blocks[0].samples.samples[0].metadata.map(\.key) == ["Sex"], "no observation may be seen, audited or not")
    }

    @Test func listsNameWhatIsPresent() throws {
        let table = [
            "image,finding,words,site", "0.jpg,Edema|Mass,edema and mass,A", "1.jpg,No Finding,clear,B", "2.jpg,,,A",
            "3.jpg,Edema|Gout,?,B",
        ]
        var format = DatasetFormat(.imageCSV, fields: .init(image: "image"))
        format.images = ImageRows(
            labels: LabelSetFormat(
                names: ["Mass", "Edema"], source: .list(column: "finding", separator: "|", none: "No Finding")), hidden: ["words"])
        let (index, blocks) = try read(table, format, as: "labels.csv")
        let sets = try #require(blocks[0].labelSets)
        #expect([0, 1, 2].map { Array(sets[row: $0]) } == [[Self.p, Self.p], [Self.a, Self.a], [Self.u, Self.u]])
        #expect(index.quarantineExamples.map(\.reason).first?.contains("Gout") == true)
        #expect(blocks[0].samples.samples[0].metadata.map(\.key) == ["site"], "columns that tell the labels are hidden")
        #expect(blocks[0].samples.firstPosition == sets.firstPosition && blocks[1].labelSets?.firstPosition == 3)
    }

    @Test func blocksTravelAndDamageIsSeen() throws {
        var block = LabelSetBlock(firstPosition: 512, labels: 5, cells: LabelCell.allCases + LabelCell.allCases.reversed())
        #expect(try LabelSetBlock(decoding: block.encode()) == block)
        var bytes = block.encode()
        bytes[bytes.count - 1] = 9
        #expect(failure { try LabelSetBlock(decoding: bytes) }?.code == "artifact.damaged")
        #expect(failure { try LabelSetBlock(decoding: Array(block.encode().dropLast())) } != nil)
        block.forget(row: 1)
        #expect(block[row: 1].allSatisfy { $0 == .unknown } && block[row: 0].contains(.present))
    }
}
