internal import Foundation

/// Turns signals into calls on a queue, so that nothing runs inside a signal handler.
///
/// `@unchecked Sendable`: the sources are made in `init` and only cancelled afterwards.
package final class SignalWatch: @unchecked Sendable {
    private let sources: [any DispatchSourceSignal]

    /// - Parameter signals: their default action is switched off.
    package init(_ signals: [Int32], handler: @escaping @Sendable (Int32) -> Void) {
        let queue = DispatchQueue(label: "signals")
        sources = signals.map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { handler(number) }
            source.resume()
            return source
        }
    }

    package func stop() { for source in sources { source.cancel() } }
}
