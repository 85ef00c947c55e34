internal import Foundation
internal import GRDB
internal import Glibc
package import Primitives
internal import Scheduling

/// Which runs a store keeps. A run that has not ended is always kept.
package struct RetentionPolicy: Hashable, Sendable {
    /// Of the runs that ended, the newest so many are kept.
    package var keptRuns: Int?
    /// Runs submitted within this many milliseconds are kept.
    package var keptAge: Int64?

    /// - Precondition: at least one of the two; with both, a run goes when neither keeps it.
    package init(keptRuns: Int? = nil, keptAge: Int64? = nil) {
        precondition(keptRuns != nil || keptAge != nil, "a retention that keeps nothing in particular")
        self.keptRuns = keptRuns
        self.keptAge = keptAge
    }
}

/// What `Store.collect` removed, or would remove.
package struct CollectionReport: Hashable, Sendable, Codable {
    /// In the order of their submission.
    package var removedRuns: [String] = []
    package var keptRuns = 0
    package var removedTasks = 0
    package var removedCachedResults = 0
    package var keptCachedResults = 0
    /// Small artifacts, kept as rows.
    package var removedRows = 0
    package var removedFiles = 0
    package var removedUploads = 0
    /// Of artifacts, before the database file shrinks.
    package var removedBytes = 0
    package var keptArtifacts = 0
}

extension Store {
    /// A file or an upload that nothing names is kept so long: its sender may be about to name it.
    package static let orphanAge: Int64 = 24 * 3600 * 1000
    package static let uploadAge: Int64 = 7 * 24 * 3600 * 1000

    /// Removes runs that the policy does not keep, and every artifact and cached result that only they needed.
    ///
    /// An artifact lives while a kept run names it: in its plan (digests in its text, and in the bytes of the artifacts that the plan
    /// names, which is where an index names its source) or as a task's output. A cached result lives while all its outputs do. While a
    /// run has not ended, only artifacts that removed rows named go: others may be on their way into a result. People's answers are
    /// kept for ever. Rows go first, in one transaction, then files: a crash between leaves files that the next call removes.
    ///
    /// The caller owns the store, so no head is at work on it. Call it before the scheduler reads the store, never after.
    ///
    /// - Throws: `store.collecting` while a copy is being made; what `apply` throws.
    package func collect(_ policy: RetentionPolicy, dryRun: Bool = false) throws(AMAFError) -> CollectionReport {
        let hold = try CollectionLock(folder: folder, exclusive: true)
        defer { hold.keep() }
        try artifacts.flush()
        let now = wallClock()
        var report = CollectionReport()
        // In three readings, because the artifacts' bytes are read between them; nobody writes meanwhile.
        var marked = try storing(at: folder) { try pool.read { db in try markRuns(policy, now: now, db) } }
        try markReferences(&marked)
        try storing(at: folder) { try pool.read { db in try markCached(&marked, db) } }
        report.removedRuns = marked.removed.map(\.name)
        report.keptRuns = marked.keptRuns
        let live = marked.live
        func isGarbage(_ digest: Digest) -> Bool { !live.contains(digest) && (!marked.hasLiveRun || marked.named.contains(digest)) }

        func sweep(_ db: Database) throws { try sweepRows(marked, dryRun: dryRun, isGarbage: isGarbage, &report, db) }
        if dryRun {
            try storing(at: folder) { try pool.read(sweep) }
        } else {
            try storing(at: folder) {
                try pool.writeWithoutTransaction { db in
                    try db.inTransaction(.immediate) {
                        try sweep(db)
                        return .commit
                    }
                }
            }
            forgetNames()
        }
        sweepFiles(now: now, dryRun: dryRun, hasLiveRun: marked.hasLiveRun, named: marked.named, isGarbage: isGarbage, &report)
        if !dryRun { try shrink() }
        return report
    }

    // MARK: Marking

    private struct Marked {
        var removed: [(id: Int64, name: String)] = []
        var keptRuns = 0
        var hasLiveRun = false
        /// What kept runs need.
        var live: Set<Digest> = []
        /// What the plans of kept runs name.
        var plans: [Digest] = []
        /// What the plans of removed runs name.
        var removedPlans: [Digest] = []
        /// What removed rows name.
        var named: Set<Digest> = []
        var deadCached: [Int64] = []
        var keptCached = 0
    }

    private func markRuns(_ policy: RetentionPolicy, now: Int64, _ db: Database) throws -> Marked {
        var marked = Marked()
        var kept: [Int64] = []
        var ended = 0
        for row in try Row.fetchAll(db, sql: "SELECT id, name, state, submitted_at, plan FROM runs ORDER BY id DESC") {
            let (id, name, state, submitted): (Int64, String, RunState, Int64) = (row[0], row[1], try runState(row[2]), row[3])
            var stays = !state.isTerminal
            if state.isTerminal {
                ended += 1
                if let count = policy.keptRuns, ended <= count { stays = true }
                if let age = policy.keptAge, submitted > now - age { stays = true }
            } else {
                marked.hasLiveRun = true
            }
            let digests = hexDigests(in: Array((row[4] as String).utf8))
            if stays {
                kept.append(id)
                marked.plans += digests
            } else {
                marked.removed.append((id, name))
                marked.removedPlans += digests
            }
        }
        marked.removed.reverse()
        marked.keptRuns = kept.count
        for id in kept { try forEachOutput(ofRun: id, db) { marked.live.insert($0) } }
        for run in marked.removed { try forEachOutput(ofRun: run.id, db) { marked.named.insert($0) } }
        return marked
    }

    private func markCached(_ marked: inout Marked, _ db: Database) throws {
        let cached = try Row.fetchCursor(db, sql: "SELECT id, result FROM cached")
        while let row = try cached.next() {
            let result = try row.withUnsafeData(atIndex: 1) { try decodeResult($0 ?? Data()) }
            if result.outputs.allSatisfy({ marked.live.contains($0.digest) }) {
                marked.keptCached += 1
            } else {
                marked.deadCached.append(row[0])
                for output in result.outputs { marked.named.insert(output.digest) }
            }
        }
    }

    private func forEachOutput(ofRun id: Int64, _ db: Database, _ body: (Digest) -> Void) throws {
        let rows = try Row.fetchCursor(db, sql: "SELECT result FROM tasks WHERE run = ? AND result IS NOT NULL", arguments: [id])
        while let row = try rows.next() {
            for output in try row.withUnsafeData(atIndex: 0, { try decodeResult($0 ?? Data()) }).outputs { body(output.digest) }
        }
    }

    /// Marks what plans name, and what is named inside the bytes of that: digests written out, or as 32 bytes anywhere.
    ///
    /// A block of bytes that looks like a digest by chance keeps an artifact too long, which costs disk and nothing else.
    private func markReferences(_ marked: inout Marked) throws(AMAFError) {
        var known = marked.named
        known.formUnion(marked.live)
        known.formUnion(marked.removedPlans)
        let rows = try storing(at: folder) { try pool.read { db in try Data.fetchAll(db, sql: "SELECT digest FROM artifacts") } }
        for row in rows { known.insert(Digest(bytes: [UInt8](row))) }
        for digest in artifacts.fileDigests() { known.insert(digest) }
        var byStart: [UInt64: [Digest]] = [:]
        for digest in known { byStart[digest.leadingBits, default: []].append(digest) }
        reach(from: marked.plans, byStart, &marked.live)
        reach(from: marked.removedPlans, byStart, &marked.named)
    }

    private func reach(from plans: [Digest], _ byStart: [UInt64: [Digest]], _ reached: inout Set<Digest>) {
        var waiting = plans
        var seen: Set<Digest> = []
        while let digest = waiting.popLast() {
            reached.insert(digest)
            guard seen.insert(digest).inserted, let size = try? artifacts.byteCount(of: digest), size <= 256 << 20 else { continue }
            // A torn file names nothing: it is made again, with what it names.
            guard let found = try? artifacts.withBytes(of: digest, { references(in: $0, byStart: byStart) }) else { continue }
            waiting += found
        }
    }

    // MARK: Sweeping

    private func sweepRows(
        _ marked: Marked, dryRun: Bool, isGarbage: (Digest) -> Bool, _ report: inout CollectionReport, _ db: Database
    ) throws {
        for run in marked.removed {
            report.removedTasks += try Int.fetchOne(db, sql: "SELECT count(*) FROM tasks WHERE run = ?", arguments: [run.id]) ?? 0
            guard !dryRun else { continue }
            try db.execute(sql: "DELETE FROM tasks WHERE run = ?", arguments: [run.id])
            try db.execute(sql: "DELETE FROM history WHERE run = (SELECT id FROM names WHERE name = ?)", arguments: [run.name])
            try db.execute(sql: "DELETE FROM runs WHERE id = ?", arguments: [run.id])
        }
        report.removedCachedResults = marked.deadCached.count
        report.keptCachedResults = marked.keptCached
        var dead: [Int64] = []
        let rows = try Row.fetchCursor(db, sql: "SELECT id, digest, length(bytes) FROM artifacts")
        while let row = try rows.next() {
            guard isGarbage(Digest(bytes: [UInt8](row[1] as Data))) else {
                report.keptArtifacts += 1
                continue
            }
            dead.append(row[0])
            report.removedRows += 1
            report.removedBytes += row[2] as Int
        }
        guard !dryRun else { return }
        let cached = try DirectStatement(db, "DELETE FROM cached WHERE id = ?")
        for id in marked.deadCached {
            cached.bind(1, id)
            try cached.run()
        }
        let artifact = try DirectStatement(db, "DELETE FROM artifacts WHERE id = ?")
        for id in dead {
            artifact.bind(1, id)
            try artifact.run()
        }
    }

    private func sweepFiles(
        now: Int64, dryRun: Bool, hasLiveRun: Bool, named: Set<Digest>, isGarbage: (Digest) -> Bool, _ report: inout CollectionReport
    ) {
        for digest in artifacts.fileDigests() {
            let path = artifacts.path(digest)
            guard isGarbage(digest), named.contains(digest) || age(of: path, now) >= Self.orphanAge else {
                report.keptArtifacts += 1
                continue
            }
            report.removedFiles += 1
            report.removedBytes += fileSize(path) ?? 0
            if !dryRun { artifacts.forget(digest) }
        }
        let uploads = artifacts.folder + "/uploads/"
        for name in names(inFolder: uploads) where age(of: uploads + name, now) >= Self.uploadAge {
            report.removedUploads += 1
            report.removedBytes += fileSize(uploads + name) ?? 0
            if !dryRun { unlink(uploads + name) }
        }
    }

    /// Milliseconds since the file was written.
    private func age(of path: String, _ now: Int64) -> Int64 {
        var facts = stat()
        guard stat(path, &facts) == 0 else { return 0 }
        return now - Int64(facts.st_mtim.tv_sec) * 1000 - Int64(facts.st_mtim.tv_nsec) / 1_000_000
    }

    /// Gives the space of removed rows back to the disk when it is a quarter of the file or more: it is written anew for that.
    private func shrink() throws(AMAFError) {
        try storing(at: folder) {
            try pool.writeWithoutTransaction { db in
                let free = try Int.fetchOne(db, sql: "PRAGMA freelist_count") ?? 0
                let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
                guard free > 256, free * 4 >= pages else { return }
                try db.execute(sql: "VACUUM")
                try db.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
            }
        }
    }
}

/// Digests written as 64 hexadecimal digits in a text.
func hexDigests(in text: some Collection<UInt8>) -> [Digest] {
    var found: [Digest] = []
    var run: [UInt8] = []
    func end() {
        // Where digests are written without a gap between them, or are part of a longer word, each start counts.
        if run.count >= 64 {
            for start in 0...run.count - 64 {
                if let digest = Digest(hex: String(decoding: run[start..<start + 64], as: UTF8.self)) { found.append(digest) }
            }
        }
        run.removeAll(keepingCapacity: true)
    }
    for byte in text {
        if (48...57).contains(byte) || (97...102).contains(byte) { run.append(byte) } else { end() }
    }
    end()
    return found
}

/// Known digests that stand in these bytes, as text or as they are.
///
/// - Parameter byStart: all known digests by their first eight bytes.
func references(in bytes: UnsafeRawBufferPointer, byStart: [UInt64: [Digest]]) -> [Digest] {
    var found = hexDigests(in: bytes).filter { byStart[$0.leadingBits]?.contains($0) == true }
    guard bytes.count >= Digest.byteCount else { return found }
    for offset in 0...bytes.count - Digest.byteCount {
        let start = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        guard let candidates = byStart[start] else { continue }
        let digest = Digest(bytes: [UInt8](bytes[offset..<offset + Digest.byteCount]))
        if candidates.contains(digest) { found.append(digest) }
    }
    return found
}
