import Datasets
import Foundation
import Primitives
import Testing

@Suite final class ZipArchiveTests {
    /// Made with Python's zipfile: `a/text.txt` deflated, `plain.bin` (bytes 0 to 39) and `empty` stored.
    private static let sample = [UInt8](
        Data(
            base64Encoded: """
                UEsDBBQAAAAIAAAAIQCjFT9MKAAAAAACAAAKAAAAYS90ZXh0LnR4dAvJSFUoTsxNVSjPL0op1lEowctXSExPzMxTSMxLgbD0uEJG9Q9p/QBQSwMEFAAAAAAAAAAhADwu\
                pg0oAAAAKAAAAAkAAABwbGFpbi5iaW4AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnUEsDBBQAAAAAAAAAIQAAAAAAAAAAAAAAAAAFAAAAZW1wdHlQ\
                SwECFAMUAAAACAAAACEAoxU/TCgAAAAAAgAACgAAAAAAAAAAAAAAgAEAAAAAYS90ZXh0LnR4dFBLAQIUAxQAAAAAAAAAIQA8LqYNKAAAACgAAAAJAAAAAAAAAAAAAACAAVAA\
                AABwbGFpbi5iaW5QSwECFAMUAAAAAAAAACEAAAAAAAAAAAAAAAAABQAAAAAAAAAAAAAAgAGfAAAAZW1wdHlQSwUGAAAAAAMAAwCiAAAAwgAAAAAA
                """)!)
    private static let contents: [String: [UInt8]] = [
        "a/text.txt": Array(String(repeating: "The same words, the same words, the same words again and again.\n", count: 8).utf8),
        "plain.bin": Array(0..<40), "empty": [],
    ]
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-zip-\(UUID().uuidString)").path

    init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// The entries of an archive with these bytes, or the code of the error that it gave.
    private func read(_ bytes: [UInt8]) throws -> (entries: [String: [UInt8]], code: String?) {
        let path = "\(folder)/a.zip"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        var found: [String: [UInt8]] = [:]
        do throws(AMAFError) {
            let archive = try ZipArchive(path)
            for entry in archive.entries {
                try archive.extract(entry.name, to: "\(folder)/out")
                found[entry.name] = FileManager.default.contents(atPath: "\(folder)/out").map { [UInt8]($0) }
            }
            return (found, nil)
        } catch {
            #expect(!error.remedy.isEmpty && !error.place.isEmpty)
            return (found, error.code)
        }
    }

    @Test func readsStoredAndDeflatedEntries() throws {
        let (entries, code) = try read(Self.sample)
        #expect(code == nil && entries == Self.contents)
        let archive = try ZipArchive("\(folder)/a.zip")
        #expect(archive.entries.map(\.byteCount) == [512, 40, 0])
        do {
            try archive.extract("../other", to: "\(folder)/out")
            Issue.record("an entry that is not there was unpacked")
        } catch { #expect(error.code == "archive.missing-entry") }
    }

    @Test func everyTruncationIsRefused() throws {
        for count in 0..<Self.sample.count {
            #expect(try read(Array(Self.sample.prefix(count))).code == "archive.damaged", "\(count) bytes")
        }
    }

    /// A changed byte gives an error or, in fields that say nothing about the data, the same bytes; never others.
    @Test func everyChangedByteIsFoundOrHarmless() throws {
        var found = 0
        for place in Self.sample.indices {
            var bytes = Self.sample
            bytes[place] ^= 0x41
            let (entries, code) = try read(bytes)
            if code != nil { found += 1 }
            for (name, content) in entries { #expect(Self.contents[name] ?? content == content, "byte \(place), '\(name)'") }
            #expect(code.map { $0.hasPrefix("archive.") } ?? true, "byte \(place): \(code ?? "")")
        }
        #expect(found > 150)
    }

    @Test func anEntryMayNotUnpackToMoreThanItSays() throws {
        // The directory's entry of the text: its size field says 100 instead of 512.
        let directory = try #require(
            Self.sample.indices.first { Array(Self.sample[$0...].prefix(4)) == [0x50, 0x4B, 1, 2] })
        var bytes = Self.sample
        (bytes[directory + 24], bytes[directory + 25]) = (100, 0)
        #expect(try read(bytes).code == "archive.damaged")
        // 16,000 bytes where 512 come.
        (bytes[directory + 24], bytes[directory + 25]) = (0x80, 0x3E)
        #expect(try read(bytes).code == "archive.damaged")
        // Encrypted, and packed by a method from elsewhere.
        bytes = Self.sample
        bytes[directory + 8] = 1
        #expect(try read(bytes).code == "archive.unsupported")
        bytes = Self.sample
        bytes[directory + 10] = 12
        #expect(try read(bytes).code == "archive.unsupported")
    }
}
