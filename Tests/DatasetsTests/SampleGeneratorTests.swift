import Datasets
import Foundation
import Primitives
import Testing

@Suite struct SampleGeneratorTests {
    private func generate(_ settings: SampleGenerator.Settings) throws -> ScratchFolder {
        let scratch = try ScratchFolder()
        try SampleGenerator(settings).write(to: scratch.path)
        return scratch
    }

    private func bytes(_ folder: ScratchFolder, _ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path + "/" + name)))
    }

    @Test func theSeedDecidesEverything() throws {
        let once = try generate(.init(samples: 1500, seed: 9, classes: 30))
        let again = try generate(.init(samples: 1500, seed: 9, classes: 30))
        for file in ["samples.jsonl", "images/part-00001.pgm", "sensors/part-00001.csv", "classes.txt"] {
            #expect(try bytes(once, file) == bytes(again, file), "\(file)")
        }
        let other = try generate(.init(samples: 1500, seed: 10, classes: 30))
        #expect(try bytes(once, "samples.jsonl") != bytes(other, "samples.jsonl"))
        // Bytes written down once: another machine or library must give the same.
        let small = try generate(.init(samples: 40, seed: 1))
        let files = ["samples.jsonl", "images/part-00000.pgm", "sensors/part-00000.csv"]
        let digests = try files.map { Digest.of(try bytes(small, $0)).description }
        #expect(digests == ["4125f03c6a53", "762425793e03", "0c2958dd8d92"], "\(digests)")
    }

    @Test func aLargerSetBeginsWithTheSmaller() throws {
        let small = try generate(.init(samples: 1200, seed: 3))
        let large = try generate(.init(samples: 2500, seed: 3))
        #expect(try bytes(large, "samples.jsonl").starts(with: bytes(small, "samples.jsonl")))
        #expect(try bytes(large, "images/part-00001.pgm").starts(with: bytes(small, "images/part-00001.pgm")))
        #expect(try bytes(large, "sensors/part-00001.csv").starts(with: bytes(small, "sensors/part-00001.csv")))
    }

    @Test func unlabelledSetsHaveTheSameTextsAndNoLabel() throws {
        let labelled = try generate(.init(samples: 50, seed: 3, hasImages: false, hasSensors: false))
        let blind = try generate(.init(samples: 50, seed: 3, isUnlabelled: true, hasImages: false, hasSensors: false))
        var format = DatasetFormat.generated()
        let gold = try DatasetSource.prepare(labelled.path + "/samples.jsonl", format: format, scratch: labelled.path)
        format.fields.label = nil
        let none = try DatasetSource.prepare(blind.path + "/samples.jsonl", format: format, scratch: blind.path)
        let a = try gold.index().readBlock(0, from: MappedFile(gold.path))
        let b = try none.index().readBlock(0, from: MappedFile(none.path))
        #expect(a.samples == b.samples)
        #expect(a.gold.labels.allSatisfy { $0 >= 0 } && b.gold.labels.allSatisfy { $0 == GoldBlock.unknown })
    }

    @Test func attachmentsAreFoundAndDamageIsSetAside() throws {
        let folder = try generate(.init(samples: 1003, seed: 5, classes: 150))
        let source = try DatasetSource.prepare(folder.path + "/samples.jsonl", format: .generated(), scratch: folder.path)
        let index = try source.index(blockSize: 1003)
        var block = try index.readBlock(0, from: MappedFile(source.path)).samples
        let bare = block
        var attachments = SampleAttachments(folder: source.folder)
        attachments.load(into: &block)
        #expect(block.quarantined.isEmpty)
        #expect(
            block.samples.allSatisfy {
                $0.image?.thumbnail?.width == 16 && $0.sensor?.steps == 24 && $0.sensor?.channels == ["x", "y", "z"]
            })
        #expect(try SampleBlock(decoding: block.encode()) == block)

        try FileManager.default.removeItem(atPath: folder.path + "/images/part-00001.pgm")
        try folder.write("sensors/part-00000.csv", "sample,step,x,y,z\n0,0,1,2,x\n")
        var damaged = SampleBlock(firstPosition: 0, samples: [bare.samples[0], bare.samples[1002], bare.samples[1]])
        damaged.samples[2].sensor = nil
        damaged.samples[2].image = SampleImage(reference: "../secret.pgm")
        attachments = SampleAttachments(folder: source.folder)
        attachments.load(into: &damaged)
        #expect(damaged.quarantined.map(\.code) == ["dataset.bad-sensor-row", "dataset.missing-file", "dataset.bad-reference"])
    }

    @Test func picturesSurviveTheirFormat() throws {
        let image = GreyImage(width: 3, height: 2, pixels: [0, 1, 2, 3, 4, 255])
        let bytes = PortableGrayMap.encode(image) + Array("P5 # a comment\n1 1\n255\n".utf8) + [7]
        let decoded = try bytes.withUnsafeBytes { try PortableGrayMap.decodeAll($0, place: "p") }
        #expect(decoded == [image, GreyImage(width: 1, height: 1, pixels: [7])])
        for count in 1..<bytes.count where count != PortableGrayMap.encode(image).count {
            #expect(
                failure { try bytes[..<count].withUnsafeBytes { try PortableGrayMap.decodeAll($0, place: "p") } }?.code
                    == "dataset.bad-image")
        }
    }

    @Test func textFoldersHoldTheSameTexts() throws {
        let folder = try ScratchFolder()
        try SampleGenerator(.init(samples: 30, seed: 2)).writeTextFolder(to: folder.path + "/requests", gold: folder.path + "/gold.csv")
        let source = try DatasetSource.prepare(folder.path + "/requests", format: .textFolder, scratch: folder.path)
        let read = try source.index().readBlock(0, from: MappedFile(source.path))
        let gold = try DatasetSource.prepare(
            folder.path + "/gold.csv", format: .csv(.init(text: "id", label: "label")), scratch: folder.path)
        let answers = try gold.index().readBlock(0, from: MappedFile(gold.path))
        #expect(read.samples.samples.map(\.id) == answers.samples.samples.map(\.text))
        #expect(answers.gold.labels.allSatisfy { $0 >= 0 })
    }

    /// A naive Bayes on words must neither fail nor be perfect, or the sets would be useless for comparing anything.
    @Test(arguments: [20, 150]) func textsAreLearnableButNotTrivial(classes: Int) throws {
        let folder = try generate(.init(samples: 6000, seed: 4, classes: classes, hasImages: false, hasSensors: false))
        func rows(_ split: String) throws -> (texts: [[Substring]], labels: [Int]) {
            let source = try DatasetSource.prepare(
                folder.path + "/samples.jsonl", format: .generated(splits: [split]), scratch: folder.path)
            let index = try source.index(blockSize: 10_000)
            #expect(index.classNames.count == classes)
            let read = try index.readBlock(0, from: MappedFile(source.path))
            return (read.samples.samples.map { $0.text.split(separator: " ") }, read.gold.labels.map(Int.init))
        }
        let pool = try rows("pool")
        let test = try rows("test")
        #expect(pool.texts.count == 4800 && test.texts.count == 1200)
        var counts = [[Substring: Double]](repeating: [:], count: classes)
        var totals = [Double](repeating: 0, count: classes)
        for (text, label) in zip(pool.texts, pool.labels) {
            for word in text { counts[label][word, default: 0] += 1 }
            totals[label] += Double(text.count)
        }
        var right = 0
        for (text, label) in zip(test.texts, test.labels) {
            let scores = (0..<classes).map { c in text.reduce(0) { $0 + log(((counts[c][$1] ?? 0) + 0.1) / (totals[c] + 200)) } }
            if scores.indices.max(by: { scores[$0] < scores[$1] }) == label { right += 1 }
        }
        let accuracy = Double(right) / Double(test.texts.count)
        print("naive Bayes on \(classes) made classes: \(accuracy)")
        #expect(accuracy > 0.5 && accuracy < 0.97)
    }

    @Test func senselessSettingsAreRefused() throws {
        #expect(failure { try SampleGenerator(.init(samples: 0)) }?.code == "sample.bad-settings")
        #expect(failure { try SampleGenerator(.init(samples: 5, classes: 151)) }?.code == "sample.bad-settings")
    }

    /// `AMAF_MEASURE=1 swift test -c release --filter speedOfOneHundredThousand`
    @Test(.enabled(if: ProcessInfo.processInfo.environment["AMAF_MEASURE"] != nil)) func speedOfOneHundredThousand() throws {
        // CPU time, so that a busy machine does not change the number.
        func seconds(_ body: () throws -> Void) rethrows -> Double {
            let start = clock()
            try body()
            return Double(clock() - start) / Double(CLOCKS_PER_SEC)
        }
        let scratch = try ScratchFolder()
        let written = try seconds { try SampleGenerator(.init(samples: 100_000, seed: 1)).write(to: scratch.path) }
        let source = try DatasetSource.prepare(scratch.path + "/samples.jsonl", format: .generated(), scratch: scratch.path)
        var index: DatasetIndex?
        let indexed = try seconds { index = try source.index() }
        guard let index else { return }
        var bytes = 0
        let read = try seconds {
            let file = try MappedFile(source.path)
            for block in 0..<index.plan.blockCount { bytes += try index.readBlock(block, from: file).samples.encode().count }
        }
        print(
            "100,000 samples, CPU seconds: written \(written), indexed \(indexed), read and encoded \(read) (\(bytes) of \(index.sourceByteCount) bytes)"
        )
        #expect(index.samples == 100_000)
    }
}
