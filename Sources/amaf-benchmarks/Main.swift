import ArgumentParser

/// Measures the rooms on the machine at hand and prints tables. Figures go into documents with the command that made them.
@main struct AMAFBenchmarks: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf-benchmarks", abstract: "Measures the rooms of AMAF on this machine. Build with -c release.",
        subcommands: [
            StoreBenchmark.self, ClusterBenchmark.self, BenchmarkAgent.self, ConnectionsBenchmark.self, IdleWorkers.self,
            SchedulerBenchmark.self, ImagesBenchmark.self,
        ])
}
