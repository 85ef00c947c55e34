import Foundation
import Logging
import Messaging
import Primitives
import Telemetry

/// Says in the head's log when its doors turn connections away: a box with an expired certificate never gets as far as a message.
///
/// It looks every two seconds, but never for more than a two-thousandth of a processor: NNG copies the statistics of every connection for
/// one look, which takes milliseconds where there are thousands.
///
/// `@unchecked Sendable`: `seen` and `notBefore` are touched on `queue` only.
final class DoorWatch: @unchecked Sendable {
    private let queue = DispatchQueue(label: "door-watch")
    private let timer: any DispatchSourceTimer
    private var seen = 0
    private var notBefore = Instant.origin

    /// - Parameter count: what the doors have counted so far.
    init(logger: Logger, _ count: @escaping @Sendable () -> DoorRefusals) {
        timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + 2, repeating: 2, leeway: .milliseconds(200))
        timer.setEventHandler { [weak self] in
            guard let self else { return }
            let start = SystemClock.now()
            guard start >= self.notBefore else { return }
            let used = Self.threadSeconds()
            let now = count()
            self.notBefore = start + .seconds((Self.threadSeconds() - used) * 2000)
            guard now.total > self.seen else { return }
            self.seen = now.total
            logger.warning(
                "turned connections away",
                metadata: ["since-start": "\(now.summary)", "recent-peers": "\(now.recentPeers.joined(separator: " "))"])
        }
        timer.resume()
    }

    private static func threadSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Returns when no count is under way any more, so that the doors may close.
    func stop() {
        timer.cancel()
        queue.sync {}
    }
}
