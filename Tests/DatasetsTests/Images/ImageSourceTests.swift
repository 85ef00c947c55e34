import Datasets
import Foundation
import Primitives
import Testing

@Suite struct ImageSourceTests {
    private func png(_ value: UInt8, side: Int = 4) -> [UInt8] {
        PNGWriter.file(
            width: side, height: side, bits: 8, colour: 0, rows: Array(repeating: Array(repeating: value, count: side), count: side))
    }

    /// All blocks of a prepared source, read from their own bytes.
    private func read(_ path: String, _ format: DatasetFormat, _ scratch: ScratchFolder, blockSize: Int = 16) throws -> (
        DatasetIndex, [BlockContents]
    ) {
        let source = try DatasetSource.prepare(path, format: format, scratch: scratch.path)
        let index = try source.index(blockSize: blockSize)
        let file = try MappedFile(source.path)
        let blocks = try (0..<index.plan.blockCount).map { block in
            let segments = file.withBytes { bytes in index.blocks[block].map { [UInt8](bytes[$0.bytes]) } }
            #expect(index.verifies(segments, asBlock: block))
            let contents = try index.readBlock(block, segments: segments)
            #expect(contents.pictures.count == contents.samples.samples.count)
            return contents
        }
        return (index, blocks)
    }

    @Test func foldersNameClasses() throws {
        let scratch = try ScratchFolder()
        for (i, name) in ["cat/b.png", "cat/a.png", "dog/deep/c.png", ".hidden/x.png", "dog/notes.txt"].enumerated() {
            try scratch.write("images/\(name)", png(UInt8(i)))
        }
        let (index, blocks) = try read("\(scratch.path)/images", DatasetFormat(.imageFolder), scratch)
        #expect(index.classNames == ["cat", "dog"] && index.samples == 3)
        #expect(blocks[0].samples.samples.map(\.id) == ["cat/a.png", "cat/b.png", "dog/deep/c.png"])
        #expect(blocks[0].gold.labels == [0, 0, 1])
        #expect(blocks[0].pictures[0] == .file(png(1)))
    }

    @Test func splitsAreFoldersAboveClasses() throws {
        let scratch = try ScratchFolder()
        for name in ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png"] { try scratch.write("images/\(name)", png(1)) }
        let (index, blocks) = try read("\(scratch.path)/images", DatasetFormat(.imageFolder, splits: ["train"]), scratch)
        #expect(index.samples == 2 && blocks[0].samples.samples[1].id == "train/dog/b.png" && index.classNames == ["cat", "dog"])
    }

    private func idx(_ sizes: [Int], _ bytes: [UInt8]) -> [UInt8] {
        [0, 0, 8, UInt8(sizes.count)] + sizes.flatMap { PNGWriter.bigEndian($0) } + bytes
    }

    @Test func idxBlocksReadAlone() throws {
        let scratch = try ScratchFolder()
        let pixels = (0..<40 * 6).map { UInt8(truncatingIfNeeded: $0) }
        try scratch.write("set/train-images-idx3-ubyte", idx([40, 2, 3], pixels))
        try scratch.write("set/train-labels-idx1-ubyte", idx([40], (0..<40).map { UInt8($0 % 11) }))
        let (index, blocks) = try read("\(scratch.path)/set", DatasetFormat(.idx, splits: ["train"]), scratch)
        #expect(index.plan.blockCount == 3 && index.classNames.last == "10")
        #expect(blocks[2].samples.samples[1].id == "train-000034" && blocks[2].gold.labels[1] == 0)
        #expect(blocks[1].pictures[3] == .raw(width: 3, height: 2, channels: 1, pixels: Array(pixels[19 * 6..<20 * 6])))
        try scratch.write("cut/train-images-idx3-ubyte", idx([40, 2, 3], Array(pixels.dropLast())))
        #expect(failure { try read("\(scratch.path)/cut", DatasetFormat(.idx), scratch) }?.code == "dataset.idx")
        #expect(failure { try read("\(scratch.path)/set", DatasetFormat(.idx, splits: ["dev"]), scratch) }?.code == "dataset.unknown-split")
    }

    /// Written by numpy.savez_compressed(train_images=uint8 (2, 2, 2), train_labels=int64 (2, 1)).
    @Test func npzOfNumPy() throws {
        let scratch = try ScratchFolder()
        let archive = Data(base64Encoded: Self.npz)!
        try scratch.write("m.npz", [UInt8](archive))
        let (index, blocks) = try read("\(scratch.path)/m.npz", DatasetFormat(.npz, splits: ["train"]), scratch)
        #expect(index.classNames == ["0", "7"] && blocks[0].gold.labels == [1, 0])
        #expect(blocks[0].pictures[1] == .raw(width: 2, height: 2, channels: 1, pixels: [5, 6, 7, 8]))
        var broken = [UInt8](archive)
        broken[70] ^= 0xFF
        try scratch.write("b.npz", broken)
        #expect(failure { try read("\(scratch.path)/b.npz", DatasetFormat(.npz, splits: ["train"]), scratch) }?.code == "dataset.damaged")
    }

    @Test func tablesKeepPatientsTogether() throws {
        let scratch = try ScratchFolder()
        var lines = ["image,finding,patient,note,source"]
        for i in 0..<60 {
            try scratch.write("nih/images/\(i).png", png(UInt8(i)))
            lines.append("\(i).png,\(i % 2 == 0 ? "yes" : "no"),p\(i / 3),\"note, \(i)\",\(i < 54 ? "nih" : "other")")
        }
        try scratch.write("nih/labels.csv", lines.joined(separator: "\n"))
        var format = DatasetFormat(.imageCSV, fields: .init(text: "note", label: "finding", image: "image"), splits: ["pool"])
        format.images = ImageRows(
            conditions: [.init(column: "source", value: "nih")], groups: .init(column: "patient", testShare: 0.4), root: "images")
        let (_, pool) = try read("\(scratch.path)/nih/labels.csv", format, scratch, blockSize: 64)
        format.splits = ["test"]
        let (_, test) = try read("\(scratch.path)/nih/labels.csv", format, scratch, blockSize: 64)
        let patients = [pool, test].map { Set($0[0].samples.samples.compactMap { $0.metadata("patient") }) }
        #expect(pool[0].samples.samples.count + test[0].samples.samples.count == 54)
        #expect(patients[0].isDisjoint(with: patients[1]) && patients[1].count > 2 && patients[0].count > 2)
        let first = pool[0].samples.samples[0]
        #expect(first.text.hasPrefix("note, ") && first.metadata("finding") == nil && first.metadata("source") == "nih")
    }

    /// CheXpert's layout: paths that begin with the folder's own name, fourteen observations, blank and uncertain cells.
    @Test(arguments: [(ImageRows.Uncertain.zeros, [1, 0, 0, -1]), (.ones, [1, 0, 1, -1]), (.ignore, [1, 0, -1, -1])])
    func chexpert(policy: ImageRows.Uncertain, gold: [Int32]) throws {
        let scratch = try ScratchFolder()
        let columns = ["Path", "Sex", "Age"] + ChexpertObservations.names
        var lines = [columns.joined(separator: ",")]
        for (i, cell) in ["1.0", "0.0", "-1.0", "", "2.0"].enumerated() {
            let path = "CheXpert-v1.0-small/train/patient\(i)/study1/view1_frontal.png"
            try scratch.write("CheXpert-v1.0-small/train/patient\(i)/study1/view1_frontal.png", png(UInt8(i)))
            let cells = ChexpertObservations.names.map { $0 == "Pneumonia" ? cell : "1.0" }
            lines.append(([path, "Male", "60"] + cells).joined(separator: ","))
        }
        try scratch.write("CheXpert-v1.0-small/train.csv", lines.joined(separator: "\n"))
        var format = DatasetFormat(.chexpert, splits: ["train"])
        format.images = ImageRows(observation: "Pneumonia", uncertain: policy)
        let (index, blocks) = try read("\(scratch.path)/CheXpert-v1.0-small", format, scratch)
        #expect(index.classNames == ["absent", "present"])
        #expect(Array(blocks[0].gold.labels.prefix(4)) == gold)
        #expect(blocks[0].samples.samples[0].metadata.map(\.key) == ["Age", "Sex"], "no observation may be seen")
        #expect(blocks[0].samples.quarantined.map(\.code) == ["dataset.unknown-label"])
        #expect(blocks[0].pictures[1] == .file(png(1)))
    }

    @Test func rowsThatPointNowhereAreQuarantined() throws {
        let scratch = try ScratchFolder()
        try scratch.write("t/a.png", png(1))
        try scratch.write("t/labels.csv", "image,label\na.png,x\nmissing.png,y\n../../etc/passwd,x\na.png,y,extra\n")
        let format = DatasetFormat(.imageCSV, fields: .init(label: "label", image: "image"))
        let (index, blocks) = try read("\(scratch.path)/t/labels.csv", format, scratch)
        #expect(blocks[0].samples.quarantined.map(\.code) == ["image.missing-file", "dataset.bad-reference", "dataset.column-count"])
        #expect(index.quarantinedRows == 3 && index.quarantineExamples[0].place == "missing.png")
        #expect(index.quarantineExamples[1].place == "labels.csv:4")
    }

    private static let npz = [
        "UEsDBC0AAAAIAAAAIQA7gJ0C//////////8QABQAdHJhaW5faW1hZ2VzLm5weQEAEACIAAAAAAAAAE8AAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgXlNq",
        "qK6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkaRjoKIKSpo1CrQB7gYmRiZmFlY+cAAFBLAwQtAAAACAAAACEAbQc06f//////////EAAUAHRyYWlu",
        "X2xhYmVscy5ucHkBABAAkAAAAAAAAABKAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loG6TaaGuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GkY6",
        "CoaaOgq1CmQDLnYGVAAAUEsBAi0DLQAAAAgAAAAhADuAnQJPAAAAiAAAABAAAAAAAAAAAAAAAIABAAAAAHRyYWluX2ltYWdlcy5ucHlQSwECLQMtAAAACAAA",
        "ACEAbQc06UoAAACQAAAAEAAAAAAAAAAAAAAAgAGRAAAAdHJhaW5fbGFiZWxzLm5weVBLBQYAAAAAAgACAHwAAAAdAQAAAAA=",
    ].joined()
}
