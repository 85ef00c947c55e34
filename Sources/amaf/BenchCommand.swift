import ArgumentParser
import Foundation
import Kernels
import Models
import Primitives

/// `amaf bench`: how fast this machine is, as numbers with a command.
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure this machine.", subcommands: [Networks.self])

    struct Networks: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure networks: items a second, GFLOP/s, share of the measured fused multiply-add peak.",
            discussion: """
                Shapes are those of the public networks, with random weights: speed does not depend on them. Each case warms up once and then \
                runs --rounds times for --seconds; the best round counts. --processes 2 measures two processes of one thread each, which \
                together often do more than one with two.
                """)
        @Argument(
            help: ArgumentHelp(
                "Cases; by default all: \(NetworkBenchmark.Case.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "case"))
        var cases: [String] = []
        @Option(help: "Rounds of each case.")
        var rounds: Int = 3
        @Option(help: "Seconds of each round.")
        var seconds: Double = 1
        @Option(help: "Items in a batch of the towers; by default the peers'.")
        var batch: Int?
        @Option(help: "Processes side by side, which share the threads.")
        var processes: Int = 1
        @OptionGroup var lanes: LaneOptions
        @OptionGroup var output: OutputOptions

        struct Row: Codable {
            var name: String
            var items: String
            var itemsPerSecond: Double
            var rounds: [Double]
            /// With one thread, the rate on a machine without neighbours.
            var perProcessorSecond: Double
            /// nil where memory decides.
            var gigaflops: Double?
            var shareOfPeak: Double?
            var peakGigaflops: Double
        }

        func run() throws {
            try reporting(json: output.json) {
                guard (1...1000).contains(rounds), seconds > 0, seconds <= 600, (1...64).contains(processes),
                    (1...4096).contains(batch ?? 1)
                else {
                    throw AMAFError(
                        "bench.options", "--rounds \(rounds), --seconds \(seconds), --processes \(processes)",
                        remedy: "Give 1 to 1,000 rounds of up to 600 seconds, 1 to 64 processes, batches of 1 to 4,096.")
                }
                let chosen = try cases.isEmpty ? NetworkBenchmark.Case.allCases : cases.map(Self.named)
                let device = try lanes.device()
                let rows = try processes == 1 ? measure(chosen, device) : together(chosen, device.lanes)
                if output.json { return try Console.json(rows) }
                Console.out(
                    Text.table(
                        ["network", "items/s", "", "rounds", "GFLOP/s", "% of peak"],
                        rows.map { row in
                            [
                                row.name, Text.fixed(row.itemsPerSecond, row.itemsPerSecond < 1000 ? 1 : 0), row.items,
                                row.rounds.map { Text.fixed($0, $0 < 1000 ? 1 : 0) }.joined(separator: " "),
                                row.gigaflops.map { Text.fixed($0, 1) } ?? "", row.shareOfPeak.map { Text.fixed($0 * 100, 0) } ?? "",
                            ]
                        }, rightAligned: [1, 4, 5]))
                if let peak = rows.first?.peakGigaflops {
                    Console.out(
                        "\(processes == 1 ? "\(device.lanes) threads" : "\(processes) processes of \(max(1, device.lanes / processes)) threads"), "
                            + "\(device.name); measured peak \(Text.fixed(peak, 1)) GFLOP/s")
                }
            }
        }

        private static func named(_ name: String) throws(AMAFError) -> NetworkBenchmark.Case {
            guard let known = NetworkBenchmark.Case(rawValue: name) else {
                throw AMAFError(
                    "bench.unknown-case", "There is no case '\(name)'",
                    remedy: "Choose among \(NetworkBenchmark.Case.allCases.map(\.rawValue).joined(separator: ", ")).")
            }
            return known
        }

        private func measure(_ cases: [NetworkBenchmark.Case], _ device: CPUDevice) throws(AMAFError) -> [Row] {
            let peak = device.measureFMAPeak()
            var rows: [Row] = []
            for which in cases {
                let found = try NetworkBenchmark.run(which, on: device, batch: batch, rounds: rounds, seconds: seconds)
                let rate = found.flopsPerItem > 0 ? found.best * found.flopsPerItem / 1e9 : nil
                rows.append(
                    Row(
                        name: found.name, items: found.items, itemsPerSecond: found.best, rounds: found.rounds,
                        perProcessorSecond: found.perProcessorSecond, gigaflops: rate,
                        shareOfPeak: rate.map { $0 / peak }, peakGigaflops: peak))
                if !output.json { Console.note(found.line(peak: peak)) }
            }
            return rows
        }

        /// The same program several times at once; rates add up round by round.
        private func together(_ cases: [NetworkBenchmark.Case], _ lanes: Int) throws(AMAFError) -> [Row] {
            var rows: [Row] = []
            for which in cases {
                let arguments =
                    ["bench", "networks", which.rawValue, "--json", "--rounds", String(rounds), "--seconds", String(seconds), "--lanes"]
                    + [String(max(1, lanes / processes))] + (batch.map { ["--batch", String($0)] } ?? [])
                let parts = try Self.run(arguments, times: processes)
                guard var sum = parts.first else { continue }
                for part in parts.dropFirst() {
                    sum.rounds = zip(sum.rounds, part.rounds).map { $0 + $1 }
                    sum.peakGigaflops += part.peakGigaflops
                }
                sum.itemsPerSecond = sum.rounds.max() ?? 0
                if let one = parts.first, let rate = one.gigaflops, one.itemsPerSecond > 0 {
                    let all = rate / one.itemsPerSecond * sum.itemsPerSecond
                    (sum.gigaflops, sum.shareOfPeak) = (all, all / sum.peakGigaflops)
                }
                rows.append(sum)
                if !output.json { Console.note("\(sum.name): \(Text.fixed(sum.itemsPerSecond, 1)) \(sum.items)/s") }
            }
            return rows
        }

        private static func run(_ arguments: [String], times: Int) throws(AMAFError) -> [Row] {
            var children: [(Process, Pipe)] = []
            for _ in 0..<times {
                let (child, pipe) = (Process(), Pipe())
                child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
                child.arguments = arguments
                child.standardOutput = pipe
                do { try child.run() } catch {
                    throw AMAFError("bench.child", "A second process does not start: \(error.localizedDescription)", remedy: "Run one.")
                }
                children.append((child, pipe))
            }
            var rows: [Row] = []
            for (child, pipe) in children {
                let data = pipe.fileHandleForReading.readDataToEndOfFile()
                child.waitUntilExit()
                guard child.terminationStatus == 0, let row = try? JSONDecoder().decode([Row].self, from: data).first else {
                    throw AMAFError("bench.child", "A process ended with status \(child.terminationStatus)", remedy: "Run one process.")
                }
                rows.append(row)
            }
            return rows
        }
    }
}
