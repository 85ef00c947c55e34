import Datasets
import Foundation
import Primitives
import Scheduling
import Stages
import Testing

/// Pictures as they come: every way in which one can be broken keeps its place, says why, and harms no other.
@Suite struct IngestImagesTests {
    @Test func brokenPicturesAreQuarantinedInPlace() throws {
        let folder = NSTemporaryDirectory() + "amaf-ingest-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let jpeg = JPEGCodec.encode((0..<4096).map { UInt8($0 % 64 * 4) }, width: 64, height: 64, channels: 1, quality: 90)
        let deep = PlainPNG.file(width: 32, height: 32, bits: 16, pixels: (0..<1024).flatMap { [UInt8($0 / 4), 0] })
        var damaged = jpeg
        for i in 200..<260 { damaged[i] = 0xFF }
        let files: [(name: String, bytes: [UInt8]?, code: String?)] = [
            ("good.jpg", jpeg, nil), ("broken.jpg", Array(jpeg.prefix(jpeg.count / 2)), "image.truncated"),
            ("truncated.png", Array(deep.prefix(deep.count / 2)), "image.truncated"), ("sixteen.png", deep, nil),
            ("empty.jpg", [], "image.empty"),
            ("bomb.png", PlainPNG.file(width: 20_000, height: 20_000, bits: 8, pixels: [1, 2, 3]), "image.too-large"),
            ("nowhere.png", nil, "image.missing-file"), ("last.jpg", jpeg, nil),
        ]
        for file in files { if let bytes = file.bytes { try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(file.name)")) } }
        let rows = files.enumerated().map { "\($0.element.name),\($0.offset % 2 == 0 ? "a" : "b")" }
        try Data(("image,label\n" + rows.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: "\(folder)/labels.csv"))

        let source = try DatasetSource.prepare(
            "\(folder)/labels.csv", format: DatasetFormat(.imageCSV, fields: .init(label: "label", image: "image")), scratch: folder)
        let index = try source.index(blockSize: 4)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: source.path)))
        let (blocks, _) = try Executed.run(
            IngestStage(), parameters: #"{"thumbnailSide":16}"#, blocks: 0..<2, folder: folder,
            artifacts: ["index": [index.encode()]], ranged: ["source": bytes])
        var samples: [Sample] = []
        var quarantined: [QuarantinedRow] = []
        var gold: [Int32] = []
        for block in 0..<2 {
            let outputs = try #require(blocks[block])
            let read = try SampleBlock(decoding: try #require(outputs["samples"]))
            samples += read.samples
            quarantined += read.quarantined
            gold += try GoldBlock(decoding: try #require(outputs["gold"])).labels
            let listed = try CanonicalJSON.decode([QuarantinedRow].self, from: try #require(outputs["quarantine"]), what: "quarantine")
            #expect(listed == read.quarantined)
            #expect(outputs["masked"]?.count == 8 * listed.count)
        }
        #expect(samples.count == files.count)
        let codes = Dictionary(uniqueKeysWithValues: quarantined.map { ($0.position, $0.code) })
        for (position, file) in files.enumerated() {
            #expect(codes[position] == file.code, "\(file.name)")
            #expect((samples[position].image?.thumbnail != nil) == (file.code == nil), "\(file.name)")
            #expect((gold[position] >= 0) == (file.code == nil), "\(file.name)")
        }
        #expect(quarantined.allSatisfy { row in files[row.position].name == row.place && !row.reason.isEmpty })
        #expect(samples[3].image?.thumbnail?.width == 16)
    }
}

/// One executor run by hand: artifacts in files, outputs in memory.
enum Executed {
    static func run(
        _ stage: some StageExecutor, parameters: String, blocks: Range<Int>, folder: String, artifacts: [String: [[UInt8]]],
        sameBlock: [String: [[UInt8]]] = [:], ranged: [String: [UInt8]] = [:]
    ) throws -> ([Int: [String: [UInt8]]], [Int: [String: Double]]) {
        var paths: [Digest: String] = [:]
        var grants: [LeaseGrant.Input] = []
        for (reach, list) in [(StageInput.Reach.allBlocks, artifacts), (.sameBlock, sameBlock)] {
            for (name, contents) in list {
                var digests: [Digest] = []
                for content in contents {
                    let digest = Digest.of(content)
                    paths[digest] = "\(folder)/\(digest.hex)"
                    try Data(content).write(to: URL(fileURLWithPath: "\(folder)/\(digest.hex)"))
                    digests.append(digest)
                }
                grants.append(LeaseGrant.Input(name: name, reach: reach, digests: digests))
            }
        }
        var sources: [Digest: [UInt8]] = [:]
        for (name, content) in ranged {
            sources[Digest.of(content)] = content
            grants.append(LeaseGrant.Input(name: name, reach: .allBlocks, digests: [Digest.of(content)]))
        }
        let known = sources
        var outputs: [Int: [String: [UInt8]]] = [:]
        var metrics: [Int: [String: Double]] = [:]
        let places = paths
        try stage.run(
            StageTask(
                parameters: parameters, blocks: blocks, maskedSamples: [], batchShift: 0,
                inputs: StageInputs(grants, firstBlock: blocks.lowerBound) { try Artifact(digest: $0, path: places[$0] ?? "") },
                sources: SourceAccess(readRange: { digest, range in Array((known[digest] ?? [])[range]) }),
                cache: ObjectCache(limit: 1 << 28), isCancelled: { false }
            ) { block, made, counts in
                outputs[block] = Dictionary(uniqueKeysWithValues: made.map { ($0.name, $0.bytes) })
                metrics[block] = counts
            })
        return (outputs, metrics)
    }
}

/// PNG with stored (uncompressed) rows, grey, without any library.
enum PlainPNG {
    static func file(width: Int, height: Int, bits: UInt8, pixels: [UInt8]) -> [UInt8] {
        let stride = width * Int(bits) / 8
        var raw: [UInt8] = []
        for start in Swift.stride(from: 0, to: pixels.count, by: stride) { raw += [0] + pixels[start..<min(start + stride, pixels.count)] }
        var body: [UInt8] = [0x78, 0x01]
        for start in Swift.stride(from: 0, to: raw.count, by: 65_535) {
            let piece = raw[start..<min(raw.count, start + 65_535)]
            let length = UInt16(piece.count)
            body += [
                start + 65_535 >= raw.count ? 1 : 0, UInt8(length & 255), UInt8(length >> 8), UInt8(~length & 255), UInt8(~length >> 8),
            ]
            body += piece
        }
        var (a, b): (UInt32, UInt32) = (1, 0)
        for byte in raw {
            a = (a + UInt32(byte)) % 65_521
            b = (b + a) % 65_521
        }
        body += bigEndian(b << 16 | a)
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
            + chunk("IHDR", bigEndian(UInt32(width)) + bigEndian(UInt32(height)) + [bits, 0, 0, 0, 0]) + chunk("IDAT", body)
            + chunk("IEND", [])
    }

    private static func bigEndian(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }

    private static func chunk(_ name: String, _ bytes: [UInt8]) -> [UInt8] {
        let body = Array(name.utf8) + bytes
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in body {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
        }
        return bigEndian(UInt32(bytes.count)) + body + bigEndian(~crc)
    }
}
