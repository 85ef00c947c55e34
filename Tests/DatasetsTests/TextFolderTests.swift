import Datasets
import Foundation
import Primitives
import Testing

@Suite struct TextFolderTests {
    @Test func idsAreRelativePathsInOrder() throws {
        let folder = try ScratchFolder()
        let scratch = try ScratchFolder()
        try folder.write("b.txt", "second")
        try folder.write("a/z.txt", "first\nof two lines\n")
        try folder.write("a/broken.txt", [0xFF, 0xFE, 0x00])
        try folder.write("c.TXT", "  \n")
        try folder.write(".hidden/x.txt", "no")
        try folder.write("picture.png", "no")
        let source = try DatasetSource.prepare(folder.path, format: .textFolder, scratch: scratch.path)
        let index = try source.index(blockSize: 2)
        #expect(index.samples == 4)
        let mapped = try MappedFile(source.path)
        let blocks = try (0..<2).map { try index.readBlock($0, from: mapped).samples }
        #expect(blocks.flatMap(\.samples).map(\.id) == ["quarantined-000000", "a/z.txt", "b.txt", "quarantined-000003"])
        #expect(blocks.flatMap(\.samples).map(\.text) == ["", "first\nof two lines\n", "second", ""])
        #expect(blocks.flatMap(\.quarantined).map(\.code) == ["dataset.not-utf8", "dataset.empty-text"])
        #expect(blocks.flatMap(\.quarantined).map(\.place) == ["a/broken.txt", "c.TXT"])
        let segments = mapped.withBytes { bytes in index.blocks[1].map { [UInt8](bytes[$0.bytes]) } }
        #expect(try index.readBlock(1, segments: segments).samples == blocks[1])
    }

    @Test func emptyFoldersAndWrongKindsAreRefused() throws {
        let folder = try ScratchFolder()
        let scratch = try ScratchFolder()
        #expect(failure { try DatasetSource.prepare(folder.path, format: .textFolder, scratch: scratch.path) }?.code == "dataset.empty")
        #expect(failure { try DatasetSource.prepare(folder.path, format: .jsonl(), scratch: scratch.path) }?.code == "dataset.not-a-file")
        let file = try folder.write("a.txt", "x")
        #expect(failure { try DatasetSource.prepare(file, format: .textFolder, scratch: scratch.path) }?.code == "dataset.not-a-folder")
    }

    @Test func linesOfAFile() throws {
        let read = try Indexed("notes.txt", "one\n\ntwo\r\nthree", .textLines, blockSize: 2).readAll()
        #expect(read.samples.samples.map(\.text) == ["one", "two", "three"])
        #expect(read.samples.samples.map(\.id) == ["notes-000001", "notes-000002", "notes-000003"])
        #expect(read.gold.labels == [-1, -1, -1])
    }
}

@Suite struct GzipTests {
    /// Two JSON lines.
    private let compressed = [UInt8](
        Data(base64Encoded: "H4sIAAAAAAACA6tWykxRslJKVNJRKkmtKAEy0zKLikuUarmqITJJCJni1OT8vBSgFAAZKocyNQAAAA==") ?? Data())

    @Test func compressedFilesAreReadAsPlainOnes() throws {
        let data = try Indexed("a.jsonl.gz", compressed, .jsonl(.init(id: "id")))
        #expect(data.index.name == "a.jsonl")
        #expect(try data.readAll().samples.samples.map(\.text) == ["first", "second"])
        #expect(data.index.sourceDigest == Digest.of(Array("{\"id\":\"a\",\"text\":\"first\"}\n{\"id\":\"b\",\"text\":\"second\"}\n".utf8)))
        // Two members one behind the other are one file; the same without a telling name.
        let twice = try Indexed("twice", compressed + compressed, .jsonl())
        #expect(twice.index.samples == 4)
    }

    @Test func everyTruncationIsNoticed() throws {
        let scratch = try ScratchFolder()
        for count in 2..<compressed.count {
            let file = try scratch.write("cut.gz", Array(compressed[..<count]))
            let error = failure { try Gzip.decompress(file, to: scratch.path + "/out") }
            #expect(error?.code == "dataset.truncated", "\(count) bytes")
            #expect(!FileManager.default.fileExists(atPath: scratch.path + "/out"))
        }
    }

    @Test func damageIsNoticed() throws {
        let scratch = try ScratchFolder()
        for i in 10..<compressed.count {
            var damaged = compressed
            damaged[i] ^= 0x10
            let file = try scratch.write("bad.gz", damaged)
            let error = failure { try Gzip.decompress(file, to: scratch.path + "/out") }
            #expect(error?.code == "dataset.damaged" || error?.code == "dataset.truncated", "byte \(i)")
        }
        let junk = try scratch.write("junk.gz", compressed + [1, 2, 3])
        #expect(failure { try Gzip.decompress(junk, to: scratch.path + "/out") }?.code == "dataset.damaged")
    }
}
