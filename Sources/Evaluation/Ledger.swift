package import Primitives

/// When one task held its slot, on the coordinator's monotonic clock.
package struct TaskSpan: Hashable, Sendable {
    package var start: Instant
    package var end: Instant

    package init(start: Instant, end: Instant) {
        precondition(start <= end, "a task from \(start) to \(end)")
        self.start = start
        self.end = end
    }

    /// Length of the union of the spans: time during which at least one task ran.
    package static func wallSeconds(_ spans: [TaskSpan]) -> Double {
        var total = Duration.zero
        var reached: Instant?
        for span in spans.sorted(by: { ($0.start, $0.end) < ($1.start, $1.end) }) {
            let from = max(span.start, reached ?? span.start)
            if span.end > from { total += span.end - from }
            reached = max(span.end, reached ?? span.end)
        }
        return total.seconds
    }

    package static func computeSeconds(_ spans: [TaskSpan]) -> Double { spans.reduce(Duration.zero) { $0 + ($1.end - $1.start) }.seconds }
}

extension RunReport.Stage {
    package init(name: String, cachedTasks: Int = 0, rows: Int, spans: [TaskSpan]) {
        self.init(
            name: name, tasks: spans.count + cachedTasks, cachedTasks: cachedTasks, rows: rows, wallSeconds: TaskSpan.wallSeconds(spans),
            computeSeconds: TaskSpan.computeSeconds(spans))
    }
}

/// What time costs, as the user states it; nothing here is a constant of ours.
package struct PriceTable: Hashable, Sendable, Codable {
    /// ISO code or sign, printed as given.
    package var currency: String
    package var perHumanHour: Double?
    /// One slot for one hour.
    package var perSlotHour: Double?

    package init(currency: String, perHumanHour: Double?, perSlotHour: Double?) {
        self.currency = currency
        self.perHumanHour = perHumanHour
        self.perSlotHour = perSlotHour
    }
}

extension RunReport.Cost {
    /// Human hours of the ledger and slot hours of the stages at the table's prices; nil when no price applies.
    package init?(prices: PriceTable, ledger: RunReport.HumanLedger?, stages: [RunReport.Stage]) {
        var lines: [Line] = []
        if let price = prices.perHumanHour, let ledger {
            let what = ledger.isSimulated ? "human work (simulated)" : "human work"
            lines.append(Line(what: what, quantity: ledger.humanSeconds / 3600, unit: "h", price: price))
        }
        if let price = prices.perSlotHour {
            let hours = stages.reduce(0) { $0 + $1.computeSeconds } / 3600
            lines.append(Line(what: "computing", quantity: hours, unit: "slot h", price: price))
        }
        guard !lines.isEmpty else { return nil }
        self.init(currency: prices.currency, lines: lines)
    }
}
