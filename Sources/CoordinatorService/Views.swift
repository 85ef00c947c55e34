import Foundation
import Messaging
import Primitives
import Scheduling
import Storage
import WireProtocol

/// Answers questions about tasks and history from a snapshot connection, on its own queue: looking never slows scheduling.
struct Views: Sendable {
    private let reader: StoreReader
    private let labelingFunctions: LabelingFunctionView
    private let queue = DispatchQueue(label: "views")

    init(reader: StoreReader, artifacts: ArtifactStore) {
        self.reader = reader
        labelingFunctions = LabelingFunctionView(reader: reader, artifacts: artifacts)
    }

    /// STATUS with the labeling function tables so far: of runs that go on, and of a run that was asked for by name.
    func status(
        _ document: StatusDocument, turnedAway: @escaping @Sendable () -> DoorRefusals, isNamed: Bool,
        reply: @escaping @Sendable (Response) -> Void
    ) {
        queue.async {
            do throws(AMAFError) {
                var document = document
                document.head.refusedConnections = turnedAway()
                var tables: [LabelingFunctionTable] = []
                for run in document.snapshot.runs where isNamed || !run.state.isTerminal {
                    if let table = try labelingFunctions.table(of: run) { tables.append(table) }
                }
                document.labelingFunctions = tables
                reply(.json(try JSONText.encode(document)))
            } catch {
                reply(.failed(error))
            }
        }
    }

    /// - Parameter document: made on the views' queue.
    func encode(_ document: @escaping @Sendable () -> some Encodable & Sendable, reply: @escaping @Sendable (Response) -> Void) {
        queue.async {
            do throws(AMAFError) {
                reply(.json(try JSONText.encode(document())))
            } catch {
                reply(.failed(error))
            }
        }
    }

    func answer(_ request: Request, reply: @escaping @Sendable (Response) -> Void) {
        queue.async {
            do throws(AMAFError) {
                reply(try carryOut(request))
            } catch {
                reply(.failed(error))
            }
        }
    }

    private func carryOut(_ request: Request) throws(AMAFError) -> Response {
        switch request {
        case .story(let task):
            let entries = try reader.history(HistoryFilter(run: task.run, stage: task.stage, block: task.block))
            return .json(try JSONText.encode(entries.map(StoryLine.init)))
        case .history(let query):
            let filter = HistoryFilter(
                run: query.run, stage: query.stage, worker: query.worker, after: Int64(query.after), limit: query.limit,
                newestFirst: query.newestFirst)
            return .json(try JSONText.encode(try reader.history(filter)))
        case .tasks(let query):
            let plan = try plan(query.run)
            let stage = query.stage.flatMap { id in plan.stages.firstIndex { $0.id == id } }
            let page = try reader.tasks(run: query.run, stage: stage, states: query.state.map { [$0] }, limit: query.offset + query.limit)
            return .json(try JSONText.encode(page.dropFirst(query.offset).map { TaskLine($0, plan: plan) }))
        case .result(let run, let stages):
            let plan = try plan(run)
            var results: [StageResults] = []
            for id in stages {
                guard let position = plan.stages.firstIndex(where: { $0.id == id }) else {
                    throw AMAFError("coordinator.no-stage", "Run \(run) has no stage '\(id)'", remedy: "See `amaf tasks \(run)`.")
                }
                var blocks: [BlockResult] = []
                var cursor: TaskCursor?
                while true {
                    let page = try reader.tasks(run: run, stage: position, states: [.done], after: cursor, limit: 4096)
                    blocks += page.compactMap(\.result)
                    guard let last = page.last, page.count == 4096 else { break }
                    cursor = TaskCursor(stage: last.stage, block: last.block)
                }
                results.append(StageResults(stage: id, isComplete: blocks.count == plan.stages[position].blocks, results: blocks))
            }
            return .results(results)
        default:
            preconditionFailure("views were asked for \(request)")
        }
    }

    private func plan(_ run: RunID) throws(AMAFError) -> RunPlan {
        guard let plan = try reader.plan(of: run) else {
            throw AMAFError("coordinator.no-run", "There is no run '\(run)'", remedy: "See `amaf status`.")
        }
        return plan
    }
}

/// One line of `amaf story`.
package struct StoryLine: Codable {
    package var id: Int64
    package var at: Int64
    package var cause: UInt64
    package var what: String
    package var stage: String?
    package var firstBlock: Int?
    package var endBlock: Int?
    package var fence: String?
    package var worker: String?
    package var detail: String

    init(_ stored: StoredHistoryEntry) {
        id = stored.id
        at = stored.at
        cause = stored.entry.cause
        what = stored.entry.what
        stage = stored.entry.stage?.rawValue
        firstBlock = stored.entry.blocks?.lowerBound
        endBlock = stored.entry.blocks?.upperBound
        fence = stored.entry.fence?.description
        worker = stored.entry.worker?.rawValue
        detail = stored.entry.detail
    }
}

/// One line of `amaf tasks`.
package struct TaskLine: Codable {
    package var stage: String
    package var block: Int
    package var state: String
    package var fence: String
    package var worker: String?
    package var attempts: Int
    package var error: String?
    /// Digests of what it made, by name.
    package var outputs: [String: String]?

    init(_ row: TaskRow, plan: RunPlan) {
        stage = plan.stages[row.stage].id.rawValue
        block = row.block
        state = "\(row.state)"
        fence = row.fence.description
        worker = row.worker?.rawValue
        attempts = row.attempts
        error = row.error?.description
        outputs = row.result.map { Dictionary($0.outputs.map { ($0.name, $0.digest.hex) }, uniquingKeysWith: { first, _ in first }) }
    }
}
