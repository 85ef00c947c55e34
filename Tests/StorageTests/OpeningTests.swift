import Foundation
import GRDB
import Glibc
import Primitives
import Scheduling
import Storage
import Testing

@Suite struct Opening {
    @Test func promisesRestOnWALAndFullSynchronous() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        #expect(try store.durability() == ("wal", 2))
        try store.close()
    }

    @Test func everyOpeningRaisesTheEpoch() throws {
        let folder = TemporaryFolder()
        var identity: String?
        for expected in 1...3 as ClosedRange<UInt64> {
            let store = try Store(folder: folder.path)
            #expect(store.epoch == expected)
            #expect(try store.reader().epoch() == expected)
            #expect(identity == nil || identity == store.identity)
            identity = store.identity
            try store.close()
        }
    }

    @Test func aSecondHeadIsRefusedAndToldWho() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let error = #expect(throws: AMAFError.self) { try Store(folder: folder.path) }
        #expect(error?.code == "store.locked")
        #expect(error?.message.contains("process \(getpid())") == true)
        // The refused head changed nothing, least of all the epoch.
        #expect(try store.reader().epoch() == store.epoch)
        try store.apply(exampleChanges())
        try store.close()
        try Store(folder: folder.path).close()
    }

    /// A slot process that outlives its head must not keep the store locked.
    @Test func childrenDoNotInheritTheLock() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/bin/sleep")
        child.arguments = ["30"]
        try child.run()
        defer { child.terminate() }
        try store.close()
        try Store(folder: folder.path).close()
        #expect(child.isRunning)
    }

    @Test(arguments: ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse", "ceph", "9p", "lustre"]) func networkFileSystems(type: String) {
        #expect(isNetworkFileSystem(type: type))
    }
    @Test(arguments: ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs"]) func localFileSystems(type: String) {
        #expect(!isNetworkFileSystem(type: type))
    }

    @Test func theDeepestMountCounts() {
        let mounts = """
            22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
            30 22 0:40 / /data rw,relatime - xfs /dev/vdb rw
            31 30 0:41 / /data/my\\040share rw shared:7 master:2 - nfs4 server:/export rw,vers=4.2
            32 22 0:42 / /over rw - ext4 /dev/vdc rw
            33 32 0:43 / /over rw - fuse.s3fs s3fs rw
            broken line
            """
        #expect(fileSystemType(of: "/home/amaf", mounts: mounts) == "ext4")
        #expect(fileSystemType(of: "/data", mounts: mounts) == "xfs")
        #expect(fileSystemType(of: "/database", mounts: mounts) == "ext4")
        #expect(fileSystemType(of: "/data/my share/store", mounts: mounts) == "nfs4")
        #expect(fileSystemType(of: "/over/x", mounts: mounts) == "fuse.s3fs")
        #expect(fileSystemType(of: "/x", mounts: "") == nil)
    }

    @Test func aForeignDatabaseIsLeftAlone() throws {
        let folder = TemporaryFolder()
        try withDatabase(folder.path) { db in
            try db.execute(sql: "PRAGMA application_id = 77; CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        }
        let before = try Data(contentsOf: URL(fileURLWithPath: folder / "state.sqlite"))
        #expect(errorCode { _ = try Store(folder: folder.path) } == "store.foreign")
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder / "state.sqlite")) == before)
    }

    @Test func textIsNoStore() throws {
        let folder = TemporaryFolder()
        try Data(repeating: 65, count: 8192).write(to: URL(fileURLWithPath: folder / "state.sqlite"))
        #expect(errorCode { _ = try Store(folder: folder.path) } == "store.corrupt")
    }

    @Test func aDamagedPageIsFoundAtTheStart() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        for i in 0..<20 { try store.apply(finished("run-a", blocks: 100 + i * 100..<200 + i * 100)) }
        try store.close()
        let root = try withDatabase(folder.path) { db in
            try Int.fetchOne(db, sql: "SELECT rootpage FROM sqlite_master WHERE name = 'tasks'") ?? 0
        }
        let file = try #require(FileHandle(forUpdatingAtPath: folder / "state.sqlite"))
        try file.seek(toOffset: UInt64((root - 1) * 4096))
        try file.write(contentsOf: Data(repeating: 0xAB, count: 4096))
        try file.close()
        #expect(errorCode { _ = try Store(folder: folder.path) } == "store.corrupt")
    }

    @Test func aFolderWithoutRights() throws {
        let folder = TemporaryFolder()
        try Data().write(to: URL(fileURLWithPath: folder / "file"))
        #expect(errorCode { _ = try Store(folder: folder / "file/store") } == "store.permission")
    }
}

@Suite struct Recovery {
    /// What a SIGKILL leaves: the database and its log as they are at that moment, nothing closed. Copies taken between
    /// commits, and one cut in the middle of the last commit's frames, are opened as a new head would.
    @Test func acknowledgedBatchesSurviveAKillAndTornOnesVanishWhole() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        var copies: [(folder: TemporaryFolder, batches: Int, cut: Int)] = []
        for i in 0..<6 {
            let before = try Data(contentsOf: URL(fileURLWithPath: folder / "state.sqlite-wal")).count
            try store.apply(finished("run-a", blocks: 100 + i * 30..<130 + i * 30))
            let log = try Data(contentsOf: URL(fileURLWithPath: folder / "state.sqlite-wal"))
            for cut in [log.count, before + (log.count - before) / 2] {
                let copy = TemporaryFolder()
                try FileManager.default.copyItem(atPath: folder / "state.sqlite", toPath: copy / "state.sqlite")
                try log.prefix(cut).write(to: URL(fileURLWithPath: copy / "state.sqlite-wal"))
                copies.append((copy, cut == log.count ? i + 1 : i, cut))
            }
        }
        for (copy, batches, cut) in copies {
            // Looking at what a dead head left needs no new head.
            #expect(try StoreReader(folder: copy.path).history().count == 2 + batches)
            let recovered = try Store(folder: copy.path)
            #expect(recovered.epoch == store.epoch + 1)
            let state = try recovered.load()
            let blocks = state.tasks.filter { $0.block >= 100 }.map(\.block)
            #expect(blocks == Array(100..<100 + batches * 30), "log cut at byte \(cut)")
            #expect(state.cached.count == 1 + batches * 30)
            #expect(try recovered.reader().history().count == 2 + batches)
            try recovered.apply(finished("run-a", blocks: 5000..<5001, epoch: recovered.epoch))
            try recovered.close()
        }
        try store.close()
    }
}

@Suite struct Migrations {
    /// A store as the release of each schema left it opens with today's code and says what it said then, and the copy made before the
    /// migration is the file as it was.
    @Test(arguments: 1...schemaSteps.count) func everySchemaOpens(version: Int) throws {
        let folder = TemporaryFolder()
        try copyFixture(version, to: folder)
        let before = try withDatabase(folder.path) { db in try Row.fetchAll(db, sql: "SELECT * FROM tasks ORDER BY run, stage, block") }
        let store = try Store(folder: folder.path)
        #expect(store.epoch == 4)
        let state = try store.load()
        #expect(state.runs.map(\.plan) == [examplePlan("run-a")])
        #expect(state.tasks == fixtureTasks(version))
        #expect(state.cached == exampleChanges().cached)
        #expect(try store.reader().history().map(\.entry) == exampleChanges().history)
        #expect(try store.reader().reviews(run: RunID("run-a")).map(\.label) == ["yes"])
        #expect(try store.pendingOutbox(target: "mlflow").map(\.item.key) == ["run-a/1"])
        #expect(try store.artifacts.read(Digest.of([1, 2, 3] as [UInt8])) == [1, 2, 3])
        #expect(try store.reader().schemaVersion() == schemaSteps.count)
        try store.apply(finished("run-a", blocks: 100..<110, epoch: store.epoch))
        try store.close()
        let copy = folder / "backups/before-schema-\(schemaSteps.count)-from-\(version).sqlite"
        #expect(FileManager.default.fileExists(atPath: copy) == (version < schemaSteps.count))
        if version < schemaSteps.count {
            let kept = try DatabaseQueue(path: copy).read { db in
                try Row.fetchAll(db, sql: "SELECT * FROM tasks ORDER BY run, stage, block")
            }
            #expect(kept == before)
        }
    }

    /// Writes the fixture of the schema of today; run it once for each schema that is released, with AMAF_WRITE_FIXTURES=1.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["AMAF_WRITE_FIXTURES"] != nil)) func writeTheFixture() throws {
        let folder = TemporaryFolder()
        for opening in 1...3 {
            let store = try Store(folder: folder.path, options: testOptions())
            if opening == 3 {
                var changes = exampleChanges()
                changes.tasks = fixtureTasks(schemaSteps.count)
                try store.apply(
                    changes, artifacts: [InlineArtifact([1, 2, 3])],
                    outbox: [OutboxItem(target: "mlflow", key: "run-a/1", body: Array("{}".utf8))])
                try store.record([
                    ReviewAnswer(
                        run: RunID("run-a"), stage: StageID("review"), sample: "s-1", label: "yes", who: "ann", seconds: 2.5,
                        at: 1_700_000_000_000)
                ])
            }
            try store.close()
        }
        try withDatabase(folder.path) { db in try db.execute(sql: "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM") }
        try FileManager.default.copyItem(atPath: folder / "state.sqlite", toPath: fixturePath(schemaSteps.count))
    }

    /// Schema 2: the samples that a block leaves out survive the head, in a store of schema 1 as well.
    @Test func maskedSamplesAreKept() throws {
        let folder = TemporaryFolder()
        try copyFixture(1, to: folder)
        var changes = StateChanges()
        changes.tasks = [
            TaskRow(
                run: RunID("run-a"), stage: 0, block: 1, state: .ready, fence: Fence(rawValue: 7), attempts: 1, maskedSamples: [3, 1 << 40]),
            TaskRow(
                run: RunID("run-a"), stage: 1, block: 5, state: .done, fence: Fence(rawValue: 7), result: exampleResult(5),
                maskedSamples: [9]),
        ]
        let store = try Store(folder: folder.path)
        try store.apply(changes)
        try store.close()
        let again = try Store(folder: folder.path)
        let tasks = try again.load().tasks
        #expect(tasks.filter { !$0.maskedSamples.isEmpty } == changes.tasks)
        #expect(tasks.count == exampleChanges().tasks.count + 1)
        try again.close()
    }

    private func fixturePath(_ version: Int) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures/schema-\(version).sqlite").path
    }

    private func copyFixture(_ version: Int, to folder: TemporaryFolder) throws {
        try FileManager.default.copyItem(atPath: fixturePath(version), toPath: folder / "state.sqlite")
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: folder / "state.sqlite")
    }

    /// What the fixtures hold: from schema 2 on, a block with masked samples as well.
    private func fixtureTasks(_ version: Int) -> [TaskRow] {
        var tasks = exampleChanges().tasks
        if version >= 2 { tasks[3].maskedSamples = [3, 1 << 40] }
        return tasks
    }

    private func nextOptions() -> StoreOptions {
        var options = testOptions()
        options.schema.append(
            SchemaStep(number: schemaSteps.count + 1, sql: "ALTER TABLE tasks ADD COLUMN note TEXT; UPDATE tasks SET note = 'migrated'"))
        return options
    }

    @Test func aStepIsAppliedAfterABackupAndOlderCodeThenRefuses() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path, options: testOptions())
        try store.apply(exampleChanges())
        try store.close()

        let newer = try Store(folder: folder.path, options: nextOptions())
        #expect(try newer.load().tasks == exampleChanges().tasks)
        try newer.close()
        #expect(try withDatabase(folder.path) { db in try String.fetchAll(db, sql: "SELECT DISTINCT note FROM tasks") } == ["migrated"])

        #expect(errorCode { _ = try Store(folder: folder.path, options: testOptions()) } == "store.newer")
        #expect(errorCode { _ = try StoreReader(folder: folder.path) } == "store.newer")

        // The copy made before is the old store: the older build opens it.
        let restored = TemporaryFolder()
        let name = "before-schema-\(schemaSteps.count + 1)-from-\(schemaSteps.count).sqlite"
        try FileManager.default.copyItem(atPath: folder / "backups/\(name)", toPath: restored / "state.sqlite")
        let older = try Store(folder: restored.path, options: testOptions())
        #expect(try older.load().tasks == exampleChanges().tasks)
        try older.close()
    }

    @Test func aFailingStepChangesNothing() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path, options: testOptions())
        try store.apply(exampleChanges())
        try store.close()
        var options = testOptions()
        options.schema.append(SchemaStep(number: schemaSteps.count + 1, sql: "DELETE FROM tasks; INSERT INTO nowhere VALUES (1)"))
        #expect(errorCode { _ = try Store(folder: folder.path, options: options) } == "store.sqlite")
        let again = try Store(folder: folder.path, options: testOptions())
        #expect(try again.load().tasks == exampleChanges().tasks)
        try again.close()
    }
}
