import Foundation
package import Logging
import Messaging
package import Primitives
import Scheduling
import Storage
import Telemetry
import WireProtocol

/// A running head: its store, its doors and the thread that turns the loop. `amaf-coordinator serve` runs one; `amaf run` embeds one.
///
/// `@unchecked Sendable`: after `start` only the loop's thread touches the loop; everything else is immutable or safe by itself.
package final class Coordinator: @unchecked Sendable {
    private enum Item: Sendable {
        case arrival(CoordinatorLoop.Arrival)
        case stop
    }

    private let inbox = Inbox<Item>()
    private let store: Store
    private let control: ServerDoor
    private let artifactDoor: ServerDoor
    private let logger: Logger
    private let stopped = DispatchSemaphore(value: 0)
    private let doorWatch: DoorWatch

    /// As clients must write them, with the ports that were taken.
    package var controlURL: String { control.url }
    package var artifactsURL: String { artifactDoor.url }
    package let epoch: UInt64

    /// Opens the store (one head each), recovers what an earlier head left, and opens the doors.
    package init(_ configuration: CoordinatorConfiguration, logger: Logger) throws(AMAFError) {
        self.logger = logger
        let store = try Store(folder: configuration.storeFolder)
        self.store = store
        epoch = store.epoch
        let recovered = try store.load()
        let scheduler = Scheduler(
            settings: configuration.settings, epoch: store.epoch, seed: store.epoch, recovering: recovered, at: SystemClock.now())
        let sessions = SessionTable()
        let service = ArtifactService(store: store.artifacts, sessions: sessions, logger: logger)
        artifactDoor = try ServerDoor(
            .artifacts(url: configuration.artifacts, tls: configuration.tls, allowsInsecure: configuration.insecure),
            onRequest: { service.receive($0) })
        let inbox = inbox
        control = try ServerDoor(
            .control(url: configuration.control, tls: configuration.tls, allowsInsecure: configuration.insecure),
            onRequest: { inbox.put(.arrival(.message($0))) }, onPipeRemoved: { inbox.put(.arrival(.pipeLost($0))) })
        let (controlDoor, bulkDoor) = (control, artifactDoor)
        let turnedAway: @Sendable () -> DoorRefusals = { controlDoor.refusals() + bulkDoor.refusals() }
        doorWatch = DoorWatch(logger: logger, turnedAway)
        let loop = CoordinatorLoop(
            scheduler: scheduler, store: store, sessions: sessions, joinKey: configuration.joinKey,
            views: Views(reader: store.reader(), artifacts: store.artifacts), logger: logger, turnedAway: turnedAway)
        logger.notice(
            "coordinator ready",
            metadata: [
                "control": "\(control.url)", "artifacts": "\(artifactDoor.url)", "epoch": "\(store.epoch)",
                "runs": "\(recovered.runs.count)",
                "tasks": "\(recovered.tasks.count)",
            ])
        start(loop)
    }

    private func start(_ loop: CoordinatorLoop) {
        let thread = Thread { [self] in
            var loop = loop
            turning: while true {
                let items = inbox.take(until: loop.nextTurn(at: SystemClock.now())) ?? []
                var arrivals: [CoordinatorLoop.Arrival] = []
                for item in items {
                    switch item {
                    case .arrival(let arrival): arrivals.append(arrival)
                    case .stop: break turning
                    }
                }
                for effect in loop.turn(arrivals, at: SystemClock.now()) {
                    switch effect {
                    case .runEnded(let run, let state):
                        logger.notice("run ended", metadata: ["run": "\(run)", "state": "\(state.rawValue)"])
                    case .ask(let run, let stage): logger.notice("waiting for people", metadata: ["run": "\(run)", "stage": "\(stage)"])
                    case .blockCommitted, .reply: break
                    }
                }
            }
            stopped.signal()
        }
        thread.name = "coordinator-loop"
        thread.stackSize = 8 << 20
        thread.start()
    }

    /// Stops serving. What was answered is durable; workers keep what they hold for the next head.
    package func stop() {
        inbox.put(.stop)
        stopped.wait()
        doorWatch.stop()
        control.close()
        artifactDoor.close()
        do throws(AMAFError) {
            try store.close()
        } catch {
            logger.warning("the store did not close cleanly; the next start recovers it", metadata: ["error": "\(error)"])
        }
    }
}
