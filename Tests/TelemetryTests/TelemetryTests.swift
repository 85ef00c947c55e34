import Foundation
import Logging
import Primitives
import Synchronization
import Telemetry
import Testing

/// Collects the lines that a handler writes.
private final class Lines: Sendable {
    private let state = Mutex<[String]>([])
    func add(_ line: [UInt8]) { state.withLock { $0.append(String(decoding: line, as: UTF8.self)) } }
    var all: [String] { state.withLock { $0 } }
}

private func logger(_ format: LogFormat, level: Logger.Level = .info, into lines: Lines) -> Logger {
    Logger(label: "head") { label in
        LineLogHandler(label: label, level: level, format: format, timestamp: { "2026-01-31T09:05:03.007Z" }, write: { lines.add($0) })
    }
}

@Suite struct Clocks {
    @Test func monotonicClockNeverFalls() {
        var last = SystemClock.now()
        for _ in 0..<1000 {
            let now = SystemClock.now()
            #expect(now >= last)
            last = now
        }
        #expect(last.nanoseconds > 0)
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (951_827_696_007, "2000-02-29T12:34:56.007Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] as [(Int64, String)])
    func timestamps(milliseconds: Int64, text: String) { #expect(WallClock.timestamp(milliseconds) == text) }

    @Test func wallClockAgreesWithFoundation() {
        #expect(abs(Double(WallClock.milliseconds()) / 1000 - Date().timeIntervalSince1970) < 5)
    }
}

@Suite struct LogLines {
    @Test func textHasSortedMetadata() {
        let lines = Lines()
        var log = logger(.text, into: lines)
        log[metadataKey: "worker"] = "gpu-1"
        log.warning("lease expired", metadata: ["fence": "3.7", "detail": "two words", "blocks": ["1", "2"]])
        #expect(
            lines.all == [
                "2026-01-31T09:05:03.007Z warning  head: lease expired blocks=[\"1\",\"2\"] detail=\"two words\" fence=3.7 worker=gpu-1\n"
            ])
    }

    @Test func levelsBelowAreSilent() {
        let lines = Lines()
        let log = logger(.text, level: .error, into: lines)
        log.info("quiet")
        log.critical("loud")
        #expect(lines.all.count == 1)
        #expect(lines.all.first?.contains("loud") == true)
    }

    /// Text from outside can neither break a line nor reach the terminal as an escape sequence.
    @Test(arguments: LogFormat.allCases) func oneEntryIsOneLine(format: LogFormat) {
        let lines = Lines()
        logger(format, into: lines).info("a\nb\u{1B}[31m", metadata: ["k\n": "v\r\u{9B}", "q": "\"x\\\""])
        let line = lines.all.joined()
        #expect(line.filter { $0 == "\n" }.count == 1 && line.hasSuffix("\n"))
        #expect(!line.dropLast().unicodeScalars.contains { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) })
    }

    @Test func jsonIsReadBackByAnotherParser() throws {
        let lines = Lines()
        logger(.json, into: lines).error("weiß \"nicht\"\n", metadata: ["a": ["b": "c\u{7F}\\"], "list": ["1", "😀"]])
        let value = try #require(try JSONSerialization.jsonObject(with: Data(lines.all.joined().utf8)) as? [String: Any])
        #expect(value["level"] as? String == "error")
        #expect(value["message"] as? String == "weiß \"nicht\"\n")
        #expect(value["time"] as? String == "2026-01-31T09:05:03.007Z")
        #expect(value["label"] as? String == "head")
        let metadata = try #require(value["metadata"] as? [String: Any])
        #expect((metadata["a"] as? [String: String]) == ["b": "c\u{7F}\\"])
        #expect((metadata["list"] as? [String]) == ["1", "😀"])
    }

    @Test func errorsBringTheirCode() {
        let lines = Lines()
        var handler = LineLogHandler(label: "head", level: .info, format: .text, timestamp: { "T" }, write: { lines.add($0) })
        handler[metadataKey: "run"] = "r"
        handler.log(
            event: LogEvent(
                level: .error, message: "batch not stored", error: AMAFError("store.disk-full", "No space", isTransient: true),
                metadata: nil,
                source: nil, file: "", function: "", line: 1))
        #expect(lines.all == ["T error    head: batch not stored error=\"No space [store.disk-full]\" error.code=store.disk-full run=r\n"])
    }

    @Test func levelNames() throws {
        #expect(try LogBootstrap.level(named: "Debug") == .debug)
        #expect(throws: AMAFError.self) { try LogBootstrap.level(named: "loud") }
    }
}

@Suite struct Usage {
    @Test func parsesProc() throws {
        let stat = "42 (a) b (x)) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 100 1000 10 18446744073709551615"
        let usage = try #require(
            ProcessUsage(status: "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t   1024 kB\n", stat: stat, ticksPerSecond: 100))
        #expect(usage == ProcessUsage(status: "VmRSS: 1024 kB\nVmHWM: 2048 kB", stat: stat, ticksPerSecond: 100))
        #expect(usage.residentBytes == 1 << 20 && usage.peakResidentBytes == 2 << 20 && usage.cpuSeconds == 2)
        #expect(ProcessUsage(status: "", stat: "42 (x) S 1", ticksPerSecond: 100) == nil)
    }

    @Test func sensesThisProcess() throws {
        let before = try #require(ProcessUsage.current())
        var held = [UInt8](repeating: 1, count: 64 << 20)
        for i in stride(from: 0, to: held.count, by: 4096) { held[i] = 2 }
        let after = try #require(ProcessUsage.current())
        #expect(held.count == 64 << 20)
        #expect(after.residentBytes > before.residentBytes + (48 << 20))
        #expect(after.peakResidentBytes >= after.residentBytes - (1 << 20))
        #expect(after.cpuSeconds >= before.cpuSeconds)
        #expect(ProcessUsage.current(of: -5) == nil)
    }
}

@Suite struct MetricsText {
    @Test func exposition() {
        let registry = MetricsRegistry()
        registry.counter("amaf_commits_total", help: "Committed blocks.", labels: ["verdict": "fenced"]).add(2)
        registry.counter("amaf_commits_total", help: "", labels: ["verdict": "accepted"]).add()
        registry.gauge("amaf_depth", help: "Back\\slash\nand line").set(1.5)
        let histogram = registry.histogram("amaf_commit_seconds", help: "Latency.", labels: ["z": "1", "a": "q\"\\\n"], bounds: [0.5, 1])
        for value in [0.25, 0.5, 0.75, 8] { histogram.observe(value) }
        registry.sampled("amaf_up", help: "Up.", kind: .gauge) { .infinity }
        #expect(
            registry.text() == """
                # HELP amaf_commit_seconds Latency.
                # TYPE amaf_commit_seconds histogram
                amaf_commit_seconds_bucket{a="q\\"\\\\\\n",z="1",le="0.5"} 2
                amaf_commit_seconds_bucket{a="q\\"\\\\\\n",z="1",le="1"} 3
                amaf_commit_seconds_bucket{a="q\\"\\\\\\n",z="1",le="+Inf"} 4
                amaf_commit_seconds_sum{a="q\\"\\\\\\n",z="1"} 9.5
                amaf_commit_seconds_count{a="q\\"\\\\\\n",z="1"} 4
                # HELP amaf_commits_total Committed blocks.
                # TYPE amaf_commits_total counter
                amaf_commits_total{verdict="accepted"} 1
                amaf_commits_total{verdict="fenced"} 2
                # HELP amaf_depth Back\\\\slash\\nand line
                # TYPE amaf_depth gauge
                amaf_depth 1.5
                # HELP amaf_up Up.
                # TYPE amaf_up gauge
                amaf_up +Inf

                """)
    }

    @Test func sameNameAndLabelsAreOneMetric() async {
        let registry = MetricsRegistry()
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    let counter = registry.counter("hits_total", help: "Hits.", labels: ["b": "2", "a": "1"])
                    let histogram = registry.histogram("wait_seconds", help: "Wait.")
                    for _ in 0..<1000 {
                        counter.add()
                        histogram.observe(0.002)
                    }
                }
            }
        }
        #expect(registry.counter("hits_total", help: "Hits.", labels: ["a": "1", "b": "2"]).value == 8000)
        #expect(registry.histogram("wait_seconds", help: "Wait.").snapshot().count == 8000)
    }

    @Test func processMetrics() {
        let registry = MetricsRegistry()
        registry.addProcessMetrics()
        let lines = registry.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(lines.count == 3)
        #expect(lines.allSatisfy { Double($0.split(separator: " ")[1]) ?? -1 >= 0 })
    }
}
