import Foundation
import Logging
import Messaging

/// Says in the head's log when its doors turn connections away: a box with an expired certificate never gets as far as a message.
///
/// `@unchecked Sendable`: `seen` is touched on `queue` only.
final class DoorWatch: @unchecked Sendable {
    private let queue = DispatchQueue(label: "door-watch")
    private let timer: any DispatchSourceTimer
    private var seen = 0

    /// - Parameter count: what the doors have counted so far.
    init(logger: Logger, _ count: @escaping @Sendable () -> DoorRefusals) {
        timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + 2, repeating: 2, leeway: .milliseconds(200))
        timer.setEventHandler { [weak self] in
            let now = count()
            guard let self, now.total > self.seen else { return }
            self.seen = now.total
            logger.warning(
                "turned connections away",
                metadata: ["since-start": "\(now.summary)", "recent-peers": "\(now.recentPeers.joined(separator: " "))"])
        }
        timer.resume()
    }

    /// Returns when no count is under way any more, so that the doors may close.
    func stop() {
        timer.cancel()
        queue.sync {}
    }
}
