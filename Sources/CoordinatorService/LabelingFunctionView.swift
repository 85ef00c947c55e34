import Foundation
package import Primitives
import Scheduling
import Stages
import Storage
import WeakSupervision

/// How a run's labeling functions do on the blocks that have landed: Snorkel's columns, before the run has ended.
package struct LabelingFunctionTable: Codable, Sendable {
    package struct Row: Codable, Sendable {
        package var name: String
        /// Classes that it has voted for so far.
        package var polarity: [String]
        package var votes: Int
        /// Fractions of `samples`.
        package var coverage: Double
        package var overlaps: Double
        package var conflicts: Double
        /// Samples on which it failed.
        package var faults: Int
    }
    package var run: RunID
    /// Blocks looked at, and those of the whole stage.
    package var blocks: Int
    package var blockCount: Int
    package var samples: Int
    /// Fractions of `samples` with a vote, with two, with two that differ.
    package var coverage: Double
    package var overlap: Double
    package var conflict: Double
    package var functions: [Row]
}

/// Merges the votes of committed blocks as they are asked for. Statistics are sums, so it does not matter in which order blocks landed, and
/// a block is read once however often somebody looks.
///
/// `@unchecked Sendable`: only the views' queue touches it.
final class LabelingFunctionView: @unchecked Sendable {
    private struct Progress {
        var classNames: [String] = []
        var statistics: LFStatistics?
        var merged: Set<Int> = []
    }
    /// What one look may cost; the rest of the blocks is merged by the next.
    private static let budget = Duration.seconds(1)
    private static let pageSize = 1024
    /// Runs remembered; the one that was looked at longest ago goes first.
    private static let capacity = 32

    private let reader: StoreReader
    private let artifacts: ArtifactStore
    private var progress: [RunID: Progress] = [:]
    private var lookedAt: [RunID] = []

    init(reader: StoreReader, artifacts: ArtifactStore) {
        self.reader = reader
        self.artifacts = artifacts
    }

    /// The table of a run as far as its votes are there; nil before the first block and for runs without labeling functions.
    func table(of run: SchedulerSnapshot.Run) throws(AMAFError) -> LabelingFunctionTable? {
        guard let position = run.stages.firstIndex(where: { $0.id == Planner.votes }), run.stages[position].done > 0 else { return nil }
        let stage = run.stages[position]
        var known: Progress
        if let before = progress[run.id] { known = before } else { known = Progress(classNames: try classNames(of: run.id)) }
        if known.merged.count < stage.done { try catchUp(&known, run.id, position) }
        keep(known, of: run.id)
        guard let statistics = known.statistics else { return nil }
        let analysis = LFAnalysis(statistics)
        return LabelingFunctionTable(
            run: run.id, blocks: known.merged.count, blockCount: stage.blocks, samples: statistics.samples, coverage: analysis.coverage,
            overlap: analysis.overlap, conflict: analysis.conflict,
            functions: zip(analysis.rows, statistics.perFunction).map { row, counts in
                LabelingFunctionTable.Row(
                    name: row.function.name,
                    polarity: row.polarity.map { $0 < known.classNames.count ? known.classNames[$0] : "\($0)" }, votes: counts.votes,
                    coverage: row.coverage, overlaps: row.overlaps, conflicts: row.conflicts, faults: row.faults)
            })
    }

    private func catchUp(_ known: inout Progress, _ run: RunID, _ position: Int) throws(AMAFError) {
        let clock = ContinuousClock()
        let deadline = clock.now + Self.budget
        var cursor: TaskCursor?
        while true {
            let page = try reader.tasks(run: run, stage: position, states: [.done], after: cursor, limit: Self.pageSize)
            for row in page where !known.merged.contains(row.block) {
                guard let digest = row.result?.outputs.first(where: { $0.name == "votes" })?.digest else { continue }
                let decoded = try artifacts.withBytes(of: digest) { bytes in Result { try VoteBlock(decoding: bytes) } }
                // Votes that cannot be read are their stage's trouble; the table says over how many blocks it is.
                guard let votes = try? decoded.get() else { continue }
                let functions = votes.columns.map(\.function)
                let part = LFStatistics(
                    VoteRows(votes, functions: functions), functions: functions, faults: votes.columns.map { $0.faults?.count ?? 0 })
                if known.statistics == nil { known.statistics = part } else { known.statistics?.merge(part) }
                known.merged.insert(row.block)
                guard clock.now < deadline else { return }
            }
            guard let last = page.last, page.count == Self.pageSize else { return }
            cursor = TaskCursor(stage: last.stage, block: last.block)
        }
    }

    private func classNames(of run: RunID) throws(AMAFError) -> [String] {
        guard let text = try reader.plan(of: run)?.annotation,
            let annotation = try? JSONDecoder().decode(RunAnnotation.self, from: Data(text.utf8))
        else { return [] }
        return annotation.classNames
    }

    private func keep(_ known: Progress, of run: RunID) {
        progress[run] = known
        lookedAt.removeAll { $0 == run }
        lookedAt.append(run)
        while lookedAt.count > Self.capacity { progress[lookedAt.removeFirst()] = nil }
    }
}
