import Datasets
import Foundation
import Primitives
import Testing

@Suite struct ClincTests {
    private let small = """
        {
          "oos_test": [["what is love", "oos"]],
          "val": [["book me a plane", "flight"]],
          "train": [
            ["what do i owe", "balance"],
            ["fly me to \\u0041ustin", "flight"],
            ["a", "b", "c"],
            ["", "balance"],
            ["show my balance", "balance"]
          ],
          "test": [], "note": [7]
        }
        """

    @Test func splitsAreChosenByName() throws {
        let train = try Indexed("c.json", small, .clinc150(splits: ["train"]), blockSize: 2)
        #expect(train.index.classNames == ["balance", "flight"])
        let read = try train.readAll()
        #expect(
            read.samples.samples.map(\.id) == ["train-000001", "train-000002", "quarantined-000002", "quarantined-000003", "train-000005"])
        #expect(read.samples.samples[1].text == "fly me to Austin")
        #expect(read.samples.quarantined.map(\.place) == ["c.json:7", "c.json:8"])
        #expect(read.gold.labels == [0, 1, -1, -1, 0])
    }

    /// In the order asked for, which is not the file's, with blocks that cross from one list into the next.
    @Test func splitsFollowTheOrderAskedFor() throws {
        let data = try Indexed("c.json", small, .clinc150(splits: ["train", "oos_test", "val"]), blockSize: 3)
        #expect(data.index.blocks.map(\.count) == [1, 2, 1])
        let read = try data.readAll()
        #expect(read.samples.samples.map { $0.metadata("split") } == ["train", "train", nil, nil, "train", "oos_test", "val"])
        #expect(read.gold.labels == [0, 1, -1, -1, 0, GoldBlock.unknown, 1])
        #expect(data.index.classNames == ["balance", "flight"], "out of scope is no class")
    }

    @Test func damageIsPlaced() throws {
        let cut = failure { try Indexed("c.json", String(small.prefix(150)), .clinc150(splits: ["train"])) }
        #expect(cut?.code == "dataset.truncated")
        #expect(cut?.place == "c.json:6:7")
        #expect(failure { try Indexed("c.json", "{\"train\":{}}", .clinc150(splits: ["train"])) }?.code == "dataset.bad-json")
        #expect(failure { try Indexed("c.json", "[1]", .clinc150(splits: ["train"])) }?.code == "dataset.bad-json")
        #expect(failure { try Indexed("c.json", small + "x", .clinc150(splits: ["train"])) }?.code == "dataset.bad-json")
        #expect(failure { try Indexed("c.json", small, .clinc150(splits: ["trian"])) }?.code == "dataset.unknown-split")
        #expect(failure { try Indexed("c.json", small, .clinc150(splits: ["test"])) }?.code == "dataset.empty")
    }

    /// The real file, where the machine has it.
    @Test func theRealDataSet() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let shared = ProcessInfo.processInfo.environment["AMAF_SHARED_DATA"] ?? root.appendingPathComponent("../shared/data").path
        let file = shared + "/clinc150/data_full.json.gz"
        guard FileManager.default.fileExists(atPath: file) else {
            print("skipped: no CLINC150 at AMAF_SHARED_DATA")
            return
        }
        let scratch = try ScratchFolder()
        let source = try DatasetSource.prepare(file, format: .clinc150(splits: ["train"]), scratch: scratch.path)
        let index = try source.index()
        #expect(index.sourceDigest.hex == "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0")
        #expect(index.sourceByteCount == 2_495_390)
        #expect(index.samples == 15_000)
        #expect(index.classNames.count == 150)
        #expect(index.labelledRows == 15_000)
        #expect(index.quarantinedRows == 0)
        let mapped = try MappedFile(source.path)
        var counts = [Int](repeating: 0, count: 150)
        for block in 0..<index.plan.blockCount {
            for label in try index.readBlock(block, from: mapped).gold.labels { counts[Int(label)] += 1 }
        }
        #expect(counts == [Int](repeating: 100, count: 150))
        let test = DatasetSource(
            name: source.name, format: .clinc150(splits: ["test", "oos_test"]), path: source.path, folder: source.folder)
        let testIndex = try test.index(classNames: index.classNames)
        #expect(testIndex.samples == 5500)
        #expect(testIndex.labelledRows == 4500)
    }
}
