internal import Synchronization

/// A number that only grows.
package final class Counter: Sendable {
    private let count = Atomic<Int>(0)

    package func add(_ amount: Int = 1) {
        precondition(amount >= 0, "a counter cannot fall by \(-amount)")
        count.wrappingAdd(amount, ordering: .relaxed)
    }
    package var value: Int { count.load(ordering: .relaxed) }
}

/// A number that rises and falls.
package final class Gauge: Sendable {
    private let bits = Atomic<UInt64>(0)

    package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// Counts observations by upper bound. Owner: its mutex.
package final class Histogram: Sendable {
    /// Rising upper bounds, inclusive; everything above the last falls into +Inf.
    package let bounds: [Double]
    private let state: Mutex<Snapshot>

    package struct Snapshot: Hashable, Sendable {
        /// One more than bounds, not cumulative.
        package var counts: [Int]
        package var sum: Double
        package var count: Int { counts.reduce(0, +) }
    }

    init(bounds: [Double]) {
        precondition(!bounds.isEmpty && zip(bounds, bounds.dropFirst()).allSatisfy(<), "histogram bounds must rise: \(bounds)")
        self.bounds = bounds
        state = Mutex(Snapshot(counts: Array(repeating: 0, count: bounds.count + 1), sum: 0))
    }

    package func observe(_ value: Double) {
        let place = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[place] += 1
            state.sum += value
        }
    }
    package func snapshot() -> Snapshot { state.withLock { $0 } }

    /// Bounds in seconds from 0.1 ms to 60 s, for latencies.
    package static let latencySeconds: [Double] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]
}

/// The metrics of one process, written as Prometheus text.
///
/// A metric is asked for once and kept by who updates it: updates are atomic and take no registry lock. Families are
/// written in the order of their names and series in the order of their labels, so two texts can be compared.
package final class MetricsRegistry: Sendable {
    package enum Kind: String, Hashable, Sendable { case counter, gauge, histogram }

    private enum Metric: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)
        case sampled(@Sendable () -> Double)
    }
    private struct Family: Sendable {
        var help: String
        var kind: Kind
        /// By the written form of the labels, which are sorted.
        var series: [String: Metric] = [:]
    }
    private let families = Mutex<[String: Family]>([:])

    package init() {}

    /// The counter with this name and these labels, made on its first use. By convention the name ends in `_total`.
    package func counter(_ name: String, help: String, labels: [String: String] = [:]) -> Counter {
        let metric = metric(name, help: help, kind: .counter, labels: labels) { .counter(Counter()) }
        guard case .counter(let counter) = metric else { preconditionFailure("\(name) is sampled, not counted") }
        return counter
    }

    package func gauge(_ name: String, help: String, labels: [String: String] = [:]) -> Gauge {
        let metric = metric(name, help: help, kind: .gauge, labels: labels) { .gauge(Gauge()) }
        guard case .gauge(let gauge) = metric else { preconditionFailure("\(name) is sampled, not set") }
        return gauge
    }

    package func histogram(
        _ name: String, help: String, labels: [String: String] = [:], bounds: [Double] = Histogram.latencySeconds
    ) -> Histogram {
        let metric = metric(name, help: help, kind: .histogram, labels: labels) { .histogram(Histogram(bounds: bounds)) }
        guard case .histogram(let histogram) = metric else { preconditionFailure("\(name) is no histogram") }
        precondition(histogram.bounds == bounds, "\(name) has bounds \(histogram.bounds), not \(bounds)")
        return histogram
    }

    /// A counter or gauge whose value is asked for whenever the text is written.
    package func sampled(
        _ name: String, help: String, kind: Kind, labels: [String: String] = [:], value: @escaping @Sendable () -> Double
    ) {
        precondition(kind != .histogram, "a histogram cannot be sampled")
        _ = metric(name, help: help, kind: kind, labels: labels) { .sampled(value) }
    }

    private func metric(_ name: String, help: String, kind: Kind, labels: [String: String], make: () -> Metric) -> Metric {
        precondition(isMetricName(name), "'\(name)' is no name for a metric")
        precondition(labels.keys.allSatisfy(isLabelName), "\(labels.keys.sorted()) are no names for labels of \(name)")
        let key = written(labels)
        return families.withLock { families in
            var family = families[name] ?? Family(help: help, kind: kind)
            precondition(family.kind == kind, "\(name) is a \(family.kind), not a \(kind)")
            if let metric = family.series[key] { return metric }
            let metric = make()
            family.series[key] = metric
            families[name] = family
            return metric
        }
    }

    /// Prometheus text exposition, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
    package func text() -> String {
        // Copied out first: a sampled value may itself ask for metrics.
        let families = families.withLock { $0 }
        var out = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            out += "# HELP \(name) \(family.help.replacing("\\", with: "\\\\").replacing("\n", with: "\\n"))\n"
            out += "# TYPE \(name) \(family.kind.rawValue)\n"
            for (labels, metric) in family.series.sorted(by: { $0.key < $1.key }) {
                switch metric {
                case .counter(let counter): out += line(name, labels, Double(counter.value))
                case .gauge(let gauge): out += line(name, labels, gauge.value)
                case .sampled(let value): out += line(name, labels, value())
                case .histogram(let histogram):
                    let snapshot = histogram.snapshot()
                    var cumulative = 0
                    for (bound, count) in zip(histogram.bounds + [.infinity], snapshot.counts) {
                        cumulative += count
                        let le = "le=\"\(number(bound))\""
                        out += line(name + "_bucket", labels.isEmpty ? le : labels + "," + le, Double(cumulative))
                    }
                    out += line(name + "_sum", labels, snapshot.sum)
                    out += line(name + "_count", labels, Double(snapshot.count))
                }
            }
        }
        return out
    }

    /// Adds what /proc says of this process, under Prometheus' customary names.
    package func addProcessMetrics() {
        sampled("process_resident_memory_bytes", help: "Bytes in memory.", kind: .gauge) {
            Double(ProcessUsage.current()?.residentBytes ?? 0)
        }
        sampled("process_resident_memory_peak_bytes", help: "The most bytes that were in memory at once.", kind: .gauge) {
            Double(ProcessUsage.current()?.peakResidentBytes ?? 0)
        }
        sampled("process_cpu_seconds_total", help: "User and system time.", kind: .counter) { ProcessUsage.current()?.cpuSeconds ?? 0 }
    }
}

private func line(_ name: String, _ labels: String, _ value: Double) -> String {
    "\(name)\(labels.isEmpty ? "" : "{\(labels)}") \(number(value))\n"
}

private func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if let whole = Int(exactly: value) { return "\(whole)" }
    return "\(value)"
}

private func written(_ labels: [String: String]) -> String {
    labels.sorted { $0.key < $1.key }.map { name, value in
        let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
        return "\(name)=\"\(escaped)\""
    }.joined(separator: ",")
}

private func isMetricName(_ name: String) -> Bool { isName(name, colons: true) }
private func isLabelName(_ name: String) -> Bool { isName(name, colons: false) && !name.hasPrefix("__") && name != "le" }
private func isName(_ name: String, colons: Bool) -> Bool {
    guard let first = name.utf8.first, !(48...57).contains(first) else { return false }
    return name.utf8.allSatisfy { byte in
        (97...122).contains(byte) || (65...90).contains(byte) || (48...57).contains(byte) || byte == 95 || (colons && byte == 58)
    }
}
