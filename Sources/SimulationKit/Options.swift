package import Primitives

/// How a seed is run, beyond what the seed itself decides.
package struct SimulationOptions: Sendable, Hashable {
    package var bug: PlantedBug?
    /// Runs on SQLite below this folder, beside the model.
    package var storeFolder: String?
    /// One write goes wrong.
    package var writeFault: Fault?

    package struct Fault: Sendable, Hashable {
        /// Counted from 1 over the whole seed.
        package var write: Int
        package var what: WriteFault

        package init(write: Int, what: WriteFault) {
            self.write = write
            self.what = what
        }
    }

    package init(bug: PlantedBug? = nil, storeFolder: String? = nil, writeFault: Fault? = nil) {
        self.bug = bug
        self.storeFolder = storeFolder
        self.writeFault = writeFault
    }
}

/// A seed that once found something, with what it takes to run it again.
package struct ReplayLine: Sendable, Hashable {
    package var seed: UInt64
    package var onRealStore: Bool
    package var writeFault: SimulationOptions.Fault?
    package var why: String

    /// Lines of `SEED [real-store] [write=N:fails|tears|kept]  # why`; empty lines and comments are skipped.
    ///
    /// - Throws: `simulation.replay-line` with the number of the line.
    package static func parse(_ text: String) throws(AMAFError) -> [ReplayLine] {
        var lines: [ReplayLine] = []
        for (i, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            func wrong(_ what: String) -> AMAFError {
                AMAFError(
                    "simulation.replay-line", what, place: "line \(i + 1)",
                    remedy: "Write SEED [real-store] [write=N:fails|tears|kept]  # why.")
            }
            let parts = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            let words = parts[0].split(whereSeparator: \.isWhitespace)
            guard let first = words.first else { continue }
            guard let seed = UInt64(first) else { throw wrong("'\(first)' is no seed") }
            let why = parts.count > 1 ? String(parts[1].drop(while: \.isWhitespace)) : ""
            guard !why.isEmpty else { throw wrong("Seed \(seed) does not say why it is kept") }
            var found = ReplayLine(seed: seed, onRealStore: false, writeFault: nil, why: why)
            for word in words.dropFirst() {
                if word == "real-store" {
                    found.onRealStore = true
                } else if word.hasPrefix("write=") {
                    let fields = word.dropFirst(6).split(separator: ":")
                    guard fields.count == 2, let write = Int(fields[0]), write > 0, let what = WriteFault(rawValue: String(fields[1]))
                    else {
                        throw wrong("'\(word)' is no write that goes wrong")
                    }
                    found.writeFault = .init(write: write, what: what)
                } else {
                    throw wrong("'\(word)' is no option of a seed")
                }
            }
            lines.append(found)
        }
        return lines
    }

    package func options(storeFolder: String) -> SimulationOptions {
        SimulationOptions(storeFolder: onRealStore ? storeFolder : nil, writeFault: writeFault)
    }
}
