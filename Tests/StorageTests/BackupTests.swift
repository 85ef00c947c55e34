import Foundation
import GRDB
import Primitives
import Scheduling
import Storage
import Testing

@Suite struct Backups {
    @Test func aBackupOfARunningStoreIsAWholeStore() throws {
        let folder = TemporaryFolder()
        let target = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        let small = try store.artifacts.put(bytes(1000, seed: 1))
        let large = try store.artifacts.put(bytes(200_000, seed: 2))
        let report = try store.backup(to: target / "copy")
        #expect(report.artifactFiles == 1 && report.damagedFiles.isEmpty && report.bytes > 200_000)
        try store.apply(finished("run-a", blocks: 100..<110))
        #expect(errorCode { try store.backup(to: target / "copy") } == "store.backup-exists")

        let copy = try Store(folder: target / "copy")
        #expect(try copy.load().tasks == exampleChanges().tasks)
        #expect(copy.identity == store.identity)
        #expect(copy.epoch == store.epoch + Store.backupEpochStride + 1, "fences of the copy never meet those of the original")
        #expect(report.epoch == store.epoch + Store.backupEpochStride)
        #expect(try copy.artifacts.read(small) == bytes(1000, seed: 1))
        #expect(try copy.artifacts.read(large) == bytes(200_000, seed: 2))
        try copy.close()
        try store.close()
    }

    /// As the command does it: without the store's lock, while its owner goes on writing. Every copy is one committed state.
    @Test func aCopyIsOneCommittedStateWhileTheHeadWrites() throws {
        let folder = TemporaryFolder()
        let target = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        try onThreads([
            { for i in 0..<120 { try store.apply(finished("run-a", blocks: 100 + i * 10..<110 + i * 10)) } },
            { for i in 0..<4 { try Store.backup(of: folder.path, to: target / "copy-\(i)") } },
        ])
        try store.close()
        var last = 0
        for i in 0..<4 {
            let copy = try Store(folder: target / "copy-\(i)")
            let state = try copy.load()
            let batches = try copy.reader().history().count - exampleChanges().history.count
            #expect(state.tasks.count == exampleChanges().tasks.count + batches * 10, "copy \(i) is torn")
            #expect(state.cached.count == 1 + batches * 10)
            #expect(batches >= last)
            last = batches
            try copy.close()
        }
    }

    @Test func aRestoredStoreGivesNoFenceTwiceAndAStaleOneIsSeen() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        let large = try store.artifacts.put(bytes(100_000, seed: 3))
        try Store.backup(of: folder.path, to: folder / "backup")
        // The original goes on for a while, and dies.
        try store.apply(finished("run-a", blocks: 100..<110, epoch: store.epoch))
        try store.close()
        var epochs: Set<UInt64> = [store.epoch]
        for opening in 0..<3 {
            let report = try Store.restore(from: folder / "backup", to: folder / "new-\(opening)")
            let restored = try Store(folder: folder / "new-\(opening)")
            #expect(restored.epoch == report.epoch + 1 && restored.epoch > store.epoch + Store.backupEpochStride)
            #expect(restored.identity == store.identity)
            #expect(try restored.load().tasks == exampleChanges().tasks)
            #expect(try restored.artifacts.read(large) == bytes(100_000, seed: 3))
            // Fences carry the epoch, so none of the original's, nor of a few restarts of it, is given again.
            for restart in 0..<10 as Range<UInt64> { #expect(restored.epoch != store.epoch + restart) }
            epochs.insert(restored.epoch)
            try restored.close()
        }
        #expect(epochs.count >= 3)
        #expect(errorCode { try Store.restore(from: folder / "backup", to: folder / "new-0") } == "store.backup-exists")
        #expect(errorCode { try Store.restore(from: folder / "nowhere", to: folder / "x") } == "store.missing")
    }

    @Test func damageIsFoundAtTheRestore() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        for i in 0..<20 { try store.apply(finished("run-a", blocks: 100 + i * 100..<200 + i * 100)) }
        let intact = try store.artifacts.put(bytes(100_000, seed: 4))
        let torn = try store.artifacts.put(bytes(100_000, seed: 5))
        try store.backup(to: folder / "backup")
        try store.close()
        func file(_ digest: Digest) -> String { "backup/artifacts/\(digest.hex.prefix(2))/\(digest.hex.dropFirst(2))" }
        // A file cut short is left out and named.
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: folder / file(torn))
        try bytes(99_999, seed: 5).withUnsafeBytes { try Data($0).write(to: URL(fileURLWithPath: folder / file(torn))) }
        let report = try Store.restore(from: folder / "backup", to: folder / "one")
        #expect(report.artifactFiles == 1 && report.damagedFiles.count == 1)
        let restored = try Store(folder: folder / "one")
        #expect(try restored.artifacts.missing(among: [intact, torn]) == [torn])
        try restored.close()
        // A damaged page stops it.
        let root = try withDatabase(folder / "backup") { db in
            try Int.fetchOne(db, sql: "SELECT rootpage FROM sqlite_master WHERE name = 'tasks'") ?? 0
        }
        let handle = try #require(FileHandle(forUpdatingAtPath: folder / "backup/state.sqlite"))
        try handle.seek(toOffset: UInt64((root - 1) * 4096))
        try handle.write(contentsOf: Data(repeating: 0xAB, count: 4096))
        try handle.close()
        #expect(errorCode { try Store.restore(from: folder / "backup", to: folder / "two") } == "store.corrupt")
    }

    @Test func onlyStoresAreCopied() throws {
        let folder = TemporaryFolder()
        #expect(errorCode { try Store.backup(of: folder.path, to: folder / "copy") } == "store.missing")
        try FileManager.default.createDirectory(atPath: folder / "other", withIntermediateDirectories: true)
        try withDatabase(folder / "other") { db in try db.execute(sql: "PRAGMA application_id = 77; CREATE TABLE mine (x)") }
        #expect(errorCode { try Store.backup(of: folder / "other", to: folder / "copy") } == "store.foreign")
        var options = testOptions()
        options.schema.append(SchemaStep(number: schemaSteps.count + 1, sql: "CREATE TABLE later (x)"))
        try Store(folder: folder / "newer", options: options).close()
        #expect(errorCode { try Store.backup(of: folder / "newer", to: folder / "copy2") } == "store.newer")
    }
}
