import Messaging
import Evaluation
import Primitives
import Scheduling
import Storage
import WireProtocol

/// How long each group of stages took, by the head's history.
struct StageWalls {
    /// By group: the time in which at least one lease of it lived. Groups that were never leased, because all of it was cached, are missing.
    let seconds: [String: Double]

    /// - Throws: what asking the head throws.
    init(of plan: RunPlan, _ connection: CoordinatorConnection) throws {
        var entries: [StoredHistoryEntry] = []
        while true {
            let page = try connection.document(
                [StoredHistoryEntry].self,
                .history(
                    HistoryQuery(run: plan.id, after: Int(entries.last?.id ?? 0), limit: WireLimits.historyPage, newestFirst: false)))
            entries += page
            if page.count < WireLimits.historyPage { break }
        }
        seconds = Self.seconds(entries, groups: Dictionary(plan.stages.map { ($0.id, $0.group) }, uniquingKeysWith: { first, _ in first }))
    }

    /// A lease lives from the first entry that names its fence to the last one.
    static func seconds(_ entries: [StoredHistoryEntry], groups: [StageID: String]) -> [String: Double] {
        var lives: [Fence: (group: String, first: Int64, last: Int64)] = [:]
        for event in entries {
            guard let fence = event.entry.fence else { continue }
            if var life = lives[fence] {
                (life.first, life.last) = (min(life.first, event.at), max(life.last, event.at))
                lives[fence] = life
            } else if let group = event.entry.stage.flatMap({ groups[$0] }) {
                lives[fence] = (group, event.at, event.at)
            }
        }
        return Dictionary(grouping: lives.values, by: \.group).mapValues { lives in
            TaskSpan.wallSeconds(
                lives.map { TaskSpan(start: .origin + .milliseconds($0.first), end: .origin + .milliseconds($0.last)) })
        }
    }
}
