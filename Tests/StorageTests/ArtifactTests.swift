import Foundation
import GRDB
import Glibc
import Primitives
import Scheduling
import Storage
import Testing

@Suite struct Artifacts {
    private static let sizes = [0, 1, 1000, ArtifactStore.inlineThreshold - 1, ArtifactStore.inlineThreshold, 300_000]

    @Test(arguments: sizes, [false, true]) func whatIsPutIsRead(size: Int, durable: Bool) throws {
        let folder = TemporaryFolder()
        let content = bytes(size, seed: UInt64(size))
        var store = try Store(folder: folder.path)
        #expect(try !store.artifacts.contains(Digest.of(content)))
        let digest = try store.artifacts.put(content, durable: durable)
        #expect(digest == Digest.of(content))
        #expect(try store.artifacts.put(content) == digest)
        for _ in 0..<2 {
            #expect(try store.artifacts.contains(digest))
            #expect(try store.artifacts.byteCount(of: digest) == size)
            #expect(try store.artifacts.read(digest) == content)
            #expect(try store.artifacts.read(digest, offset: size / 3, length: 100) == Array(content[(size / 3)...].prefix(100)))
            #expect(try store.artifacts.read(digest, offset: size).isEmpty)
            #expect(errorCode { _ = try store.artifacts.read(digest, offset: size + 1) } == "artifact.range")
            #expect(try store.artifacts.withBytes(of: digest) { Digest.of($0) } == digest)
            try store.artifacts.copy(digest, toFile: folder / "copy")
            #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: folder / "copy"))) == content)
            try store.close()
            store = try Store(folder: folder.path)
        }
        try store.close()
    }

    @Test func missingOnesAreNamedInOrder() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let row = InlineArtifact(bytes(10, seed: 1))
        try store.apply(StateChanges(), artifacts: [row])
        let waiting = try store.artifacts.put(bytes(20, seed: 2))
        let file = try store.artifacts.put(bytes(100_000, seed: 3))
        let absent = (0..<3).map { Digest.of(bytes(5, seed: 100 + $0)) }
        #expect(
            try store.artifacts.missing(among: [absent[2], row.digest, absent[0], waiting, file, absent[1]]) == [
                absent[2], absent[0], absent[1],
            ])
        #expect(errorCode { _ = try store.artifacts.read(absent[0]) } == "artifact.missing")
        #expect(errorCode { _ = try store.artifacts.byteCount(of: absent[0]) } == "artifact.missing")
        try store.close()
    }

    /// A small artifact that nobody asked to be durable is in the transaction of the result that names it.
    @Test func waitingArtifactsRideWithTheNextTransaction() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        func stored() throws -> Int { try withDatabase(folder.path) { try Int.fetchOne($0, sql: "SELECT count(*) FROM artifacts") ?? 0 } }
        try store.artifacts.put(bytes(10, seed: 1))
        #expect(try stored() == 0)
        try store.apply(exampleChanges())
        #expect(try stored() == 1)
        try store.artifacts.put(bytes(10, seed: 2))
        try store.artifacts.put(bytes(10, seed: 3), durable: true)
        #expect(try stored() == 3)
        // Memory stays bounded without any transaction.
        let much = bytes(ArtifactStore.inlineThreshold - 1, seed: 4)
        for i in 0..<300 { try store.artifacts.put(Array(much.dropFirst(i))) }
        #expect(try stored() > 100)
        try store.close()
        #expect(try stored() == 303)
    }

    @Test func inlineArtifactsOfOthersAreChecked() throws {
        let content = bytes(100, seed: 1)
        #expect(try InlineArtifact(content, claimed: Digest.of(content)) == InlineArtifact(content))
        #expect(errorCode { _ = try InlineArtifact(content, claimed: Digest.of(bytes(100, seed: 2))) } == "artifact.digest-mismatch")
        let large = bytes(ArtifactStore.inlineThreshold, seed: 3)
        #expect(errorCode { _ = try InlineArtifact(large, claimed: Digest.of(large)) } == "artifact.too-large")
    }

    private func file(of digest: Digest, in folder: TemporaryFolder) -> String {
        folder / "artifacts/\(digest.hex.prefix(2))/\(digest.hex.dropFirst(2))"
    }

    enum Damage: CaseIterable { case empty, short, cutAboveThreshold, flippedBit }

    /// What a power cut or a bad disk leaves of a file that was not fsynced counts as missing, and can be put again.
    @Test(arguments: Damage.allCases) func tornFilesAreMissing(damage: Damage) throws {
        let folder = TemporaryFolder()
        let content = bytes(200_000, seed: 9)
        var store = try Store(folder: folder.path)
        let digest = try store.artifacts.put(content)
        try store.close()
        let path = file(of: digest, in: folder)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        let handle = try #require(FileHandle(forUpdatingAtPath: path))
        switch damage {
        case .empty: try handle.truncate(atOffset: 0)
        case .short: try handle.truncate(atOffset: 5000)
        case .cutAboveThreshold: try handle.truncate(atOffset: 199_999)
        case .flippedBit:
            try handle.seek(toOffset: 123_456)
            try handle.write(contentsOf: Data([content[123_456] ^ 4]))
        }
        try handle.close()

        store = try Store(folder: folder.path)
        #expect(errorCode { _ = try store.artifacts.read(digest, length: 10) } == "artifact.missing")
        #expect(try !store.artifacts.contains(digest))
        #expect(try store.artifacts.beginUpload(of: digest, byteCount: content.count) == .accepting(from: 0))
        try store.artifacts.put(content)
        #expect(try store.artifacts.read(digest) == content)
        try store.close()
    }

    /// Putting over a torn file repairs it even when nobody read it before.
    @Test func puttingRepairs() throws {
        let folder = TemporaryFolder()
        let content = bytes(100_000, seed: 5)
        var store = try Store(folder: folder.path)
        let digest = try store.artifacts.put(content)
        try store.close()
        let path = file(of: digest, in: folder)
        try FileManager.default.removeItem(atPath: path)
        try Data(repeating: 0, count: content.count).write(to: URL(fileURLWithPath: path))
        store = try Store(folder: folder.path)
        try store.artifacts.put(content, durable: true)
        #expect(try store.artifacts.read(digest) == content)
        try store.close()
    }

    @Test(arguments: [1000, 150_000], [false, true]) func filesAreAdopted(size: Int, linking: Bool) throws {
        let folder = TemporaryFolder()
        let content = bytes(size, seed: 6)
        let source = folder / "source"
        try Data(content).write(to: URL(fileURLWithPath: source))
        let store = try Store(folder: folder / "store")
        for durable in [false, true] {
            let (digest, count) = try store.artifacts.adopt(file: source, durable: durable, linking: linking)
            #expect(digest == Digest.of(content) && count == size)
            #expect(try store.artifacts.read(digest) == content)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder / "store/artifacts/incoming").isEmpty)
        if !linking {
            // A copy: the user may go on editing the source.
            try Data(repeating: 0, count: size).write(to: URL(fileURLWithPath: source))
            #expect(try store.artifacts.read(Digest.of(content)) == content)
        }
        #expect(errorCode { _ = try store.artifacts.adopt(file: folder / "none") } == "artifact.no-file")
        try store.close()
    }

    /// Reads of rows, waiting artifacts and files from many threads while others put: every answer is right.
    @Test func manyThreadsReadWhileOthersPut() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let artifacts = store.artifacts
        let sizes = [100, 5000, 70_000, 200_000]
        let early = try sizes.map { try artifacts.put(bytes($0, seed: UInt64($0))) }
        let pool = bytes(201_000, seed: 7)
        let firsts = sizes.map { Array(bytes(100, seed: UInt64($0))[50...]) }
        try onThreads(
            (0..<6).map { thread in
                {
                    for round in 0..<20 {
                        let i = (thread + round) % early.count
                        #expect(try artifacts.read(early[i], offset: 50, length: 50) == firsts[i])
                        let own = Array(pool[round..<round + sizes[i]])
                        let digest = try artifacts.put(own, durable: round % 7 == 0)
                        #expect(try artifacts.byteCount(of: digest) == own.count)
                        if round % 5 == 0 { try artifacts.flush() }
                    }
                }
            })
        try store.close()
    }
}

@Suite struct Uploads {
    @Test(arguments: [10, 100_000]) func piecesInOrderTwiceAndOverlapping(size: Int) throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let artifacts = store.artifacts
        let content = bytes(size, seed: 1)
        let digest = Digest.of(content)
        #expect(try artifacts.beginUpload(of: digest, byteCount: size) == .accepting(from: 0))
        let third = size / 3
        #expect(try artifacts.append(to: digest, at: 0, content[0..<third]) == third)
        #expect(try artifacts.append(to: digest, at: 0, content[0..<third]) == third, "a repeated piece changes nothing")
        #expect(errorCode { _ = try artifacts.append(to: digest, at: third + 1, content[(third + 1)...]) } == "artifact.upload-gap")
        #expect(errorCode { try artifacts.finishUpload(of: digest) } == "artifact.incomplete")
        #expect(try artifacts.append(to: digest, at: 1, content[1..<2 * third]) == 2 * third, "an overlapping piece adds its new part")
        #expect(try artifacts.beginUpload(of: digest, byteCount: size) == .accepting(from: 2 * third), "beginning again resumes")
        #expect(errorCode { _ = try artifacts.append(to: digest, at: 2 * third, content[(2 * third)...] + [0]) } == "artifact.range")
        #expect(errorCode { _ = try artifacts.beginUpload(of: digest, byteCount: size + 1) } == "artifact.upload-conflict")
        #expect(try artifacts.append(to: digest, at: 2 * third, content[(2 * third)...]) == size)
        try artifacts.finishUpload(of: digest, durable: true)
        try artifacts.finishUpload(of: digest)
        #expect(try artifacts.read(digest) == content)
        #expect(try artifacts.beginUpload(of: digest, byteCount: size) == .stored)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder / "artifacts/uploads").isEmpty)
        try store.close()
    }

    @Test func anUploadOutlivesTheHead() throws {
        let folder = TemporaryFolder()
        let content = bytes(150_000, seed: 2)
        let digest = Digest.of(content)
        var store = try Store(folder: folder.path)
        _ = try store.artifacts.beginUpload(of: digest, byteCount: content.count)
        _ = try store.artifacts.append(to: digest, at: 0, content[0..<70_000])
        try store.close()

        store = try Store(folder: folder.path)
        #expect(errorCode { _ = try store.artifacts.append(to: digest, at: 70_000, content[70_000...]) } == "artifact.no-upload")
        #expect(try store.artifacts.beginUpload(of: digest, byteCount: content.count) == .accepting(from: 70_000))
        _ = try store.artifacts.append(to: digest, at: 70_000, content[70_000...])
        try store.artifacts.finishUpload(of: digest)
        #expect(try store.artifacts.read(digest) == content)
        try store.close()
    }

    @Test(arguments: [500, 90_000]) func damagedBytesAreRefusedAndForgotten(size: Int) throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let content = bytes(size, seed: 3)
        var damaged = content
        damaged[size / 2] ^= 1
        let digest = Digest.of(content)
        _ = try store.artifacts.beginUpload(of: digest, byteCount: size)
        _ = try store.artifacts.append(to: digest, at: 0, damaged)
        #expect(errorCode { try store.artifacts.finishUpload(of: digest) } == "artifact.digest-mismatch")
        #expect(try !store.artifacts.contains(digest))
        #expect(try store.artifacts.beginUpload(of: digest, byteCount: size) == .accepting(from: 0))
        _ = try store.artifacts.append(to: digest, at: 0, content)
        try store.artifacts.finishUpload(of: digest)
        #expect(try store.artifacts.read(digest) == content)
        try store.close()
    }

    /// Two workers that computed the same artifact (speculation) may send it at once.
    @Test func twoSendersShareOneUpload() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let artifacts = store.artifacts
        let content = bytes(400_000, seed: 4)
        let digest = Digest.of(content)
        let sending: @Sendable () throws -> Void = {
            guard case .accepting(var offset) = try artifacts.beginUpload(of: digest, byteCount: content.count) else { return }
            while offset < content.count {
                do throws(AMAFError) {
                    offset = try artifacts.append(to: digest, at: offset, content[offset..<min(offset + 10_000, content.count)])
                } catch {
                    // Another sender finished meanwhile.
                    guard error.code == "artifact.no-upload", try artifacts.contains(digest) else { throw error }
                    return
                }
            }
            try artifacts.finishUpload(of: digest)
        }
        try onThreads([sending, sending, sending, sending])
        #expect(try artifacts.read(digest) == content)
        try store.close()
    }

    @Test func whatTheStoreCannotKeepIsSaidUntilItKeepsSomethingAgain() throws {
        let folder = TemporaryFolder()
        var options = testOptions()
        options.maximumBytes = 300 << 10
        let store = try Store(folder: folder.path, options: options)
        #expect(store.artifacts.refusal() == nil)
        var refused: AMAFError?
        for i in 0..<20 where refused == nil {
            do throws(AMAFError) {
                try store.artifacts.put([UInt8](repeating: UInt8(i), count: 60_000), durable: true)
            } catch { refused = error }
        }
        #expect(refused?.code == "store.disk-full")
        #expect(store.artifacts.refusal() == refused)
        // A file has room where a row has none.
        try store.artifacts.put([UInt8](repeating: 1, count: 100_000))
        #expect(store.artifacts.refusal() == nil)
    }
}
