import Foundation
package import Messaging
package import Primitives
package import Scheduling

/// What STATUS answers: the head, its runs and its workers, as JSON for people and scripts.
package struct StatusDocument: Codable, Sendable {
    package struct Head: Codable, Sendable {
        package var version: String
        package var epoch: UInt64
        /// Set while the store refuses to write: nothing is lost, nothing goes on.
        package var storeError: String?
        package var refusedMessages: Int
        package var lastRefusal: String?
        /// Connections that the doors turned away before their first message.
        package var refusedConnections = DoorRefusals()
    }
    package var head: Head
    package var snapshot: SchedulerSnapshot
    /// By worker; those that have not sent any yet are missing.
    package var vitals: [ReportedVitals]
    /// By run, over the blocks that have landed; nil from heads that do not tell.
    package var labelingFunctions: [LabelingFunctionTable]?

    package init(_ snapshot: SchedulerSnapshot, vitals: [ReportedVitals], head: Head) {
        self.head = head
        self.snapshot = snapshot
        self.vitals = vitals
    }
}

package struct WorkersDocument: Codable, Sendable {
    package var workers: [SchedulerSnapshot.Worker]
    package var vitals: [ReportedVitals]

    package init(_ snapshot: SchedulerSnapshot, vitals: [ReportedVitals]) {
        workers = snapshot.workers
        self.vitals = vitals
    }
}

package struct ExplanationDocument: Codable, Sendable {
    package var lines: [String]

    package init(lines: [String]) { self.lines = lines }
}

/// JSON with sorted keys, and errors as ours.
package enum JSONText {
    package static func encode(_ value: some Encodable) throws(AMAFError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(value))
        } catch {
            throw AMAFError("json.cannot-encode", "A \(type(of: value)) cannot be written as JSON: \(error)")
        }
    }

    package static func decode<T: Decodable>(_ type: T.Type, from bytes: some Sequence<UInt8>, what: String) throws(AMAFError) -> T {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw AMAFError(
                "json.malformed", "The \(what) is not as this version expects it: \(error)",
                remedy: "Use the same AMAF release on both sides.")
        }
    }
}
