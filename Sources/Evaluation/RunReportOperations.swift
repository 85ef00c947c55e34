package import Primitives

extension RunReport {
    /// Every labelled example that the run ever used, of one seed of the main arm.
    package struct HumanLedger: Hashable, Sendable, Codable {
        package var entries: [Entry]
        /// What labelling every sample by hand would take at the same pace.
        package var secondsPerItem: Double
        package var samples: Int
        package var isSimulated: Bool

        package struct Entry: Hashable, Sendable, Codable {
            /// `review answers`, `seed set`, `examples behind the labeling functions`, `gold for measurement only`.
            package var purpose: String
            package var answers: Int
            package var seconds: Double
            /// False for gold that only measures: it reaches no label and no threshold.
            package var countsTowardsBudget: Bool

            package init(purpose: String, answers: Int, seconds: Double, countsTowardsBudget: Bool = true) {
                self.purpose = purpose
                self.answers = answers
                self.seconds = seconds
                self.countsTowardsBudget = countsTowardsBudget
            }
        }

        package init(entries: [Entry], secondsPerItem: Double, samples: Int, isSimulated: Bool) {
            self.entries = entries
            self.secondsPerItem = secondsPerItem
            self.samples = samples
            self.isSimulated = isSimulated
        }

        package var budgetAnswers: Int { entries.filter(\.countsTowardsBudget).map(\.answers).reduce(0, +) }
        package var humanSeconds: Double { entries.filter(\.countsTowardsBudget).map(\.seconds).reduce(0, +) }
        package var everythingSeconds: Double { secondsPerItem * Double(samples) }
    }

    /// Money, only where the user gave prices.
    package struct Cost: Hashable, Sendable, Codable {
        package var currency: String
        package var lines: [Line]

        package struct Line: Hashable, Sendable, Codable {
            package var what: String
            package var quantity: Double
            package var unit: String
            package var price: Double
            package var amount: Double { quantity * price }

            package init(what: String, quantity: Double, unit: String, price: Double) {
                self.what = what
                self.quantity = quantity
                self.unit = unit
                self.price = price
            }
        }

        package init(currency: String, lines: [Line]) {
            self.currency = currency
            self.lines = lines
        }
        package var total: Double { lines.map(\.amount).reduce(0, +) }
    }

    /// One stage kind over all seeds, arms and rounds.
    package struct Stage: Hashable, Sendable, Codable {
        package var name: String
        package var tasks: Int
        package var cachedTasks: Int
        /// Rows that went through, repeated rounds counted again; 0 where rows mean nothing.
        package var rows: Int
        /// Time during which at least one of its tasks ran.
        package var wallSeconds: Double
        /// Sum over its tasks of the time in their slot.
        package var computeSeconds: Double

        package init(name: String, tasks: Int, cachedTasks: Int = 0, rows: Int, wallSeconds: Double, computeSeconds: Double) {
            self.name = name
            self.tasks = tasks
            self.cachedTasks = cachedTasks
            self.rows = rows
            self.wallSeconds = wallSeconds
            self.computeSeconds = computeSeconds
        }

        package var rowsPerSecond: Double? { rows > 0 && wallSeconds > 0 ? Double(rows) / wallSeconds : nil }
    }

    package struct Process: Hashable, Sendable, Codable {
        /// `coordinator`, `worker-1`, `worker-1/slot-0`.
        package var name: String
        package var peakMemoryBytes: UInt64
        package var cpuSeconds: Double?

        package init(name: String, peakMemoryBytes: UInt64, cpuSeconds: Double? = nil) {
            self.name = name
            self.peakMemoryBytes = peakMemoryBytes
            self.cpuSeconds = cpuSeconds
        }
    }

    package struct SchedulingCounts: Hashable, Sendable, Codable {
        package var workers: Int
        package var leasesGranted: Int
        package var leasesRevoked: Int
        package var blocksDone: Int
        package var blocksRedone: Int
        package var duplicates: Int
        package var fenced: Int
        package var conflicts: Int
        package var quarantinedBlocks: Int

        package init(
            workers: Int, leasesGranted: Int, leasesRevoked: Int, blocksDone: Int, blocksRedone: Int, duplicates: Int, fenced: Int,
            conflicts: Int = 0, quarantinedBlocks: Int = 0
        ) {
            self.workers = workers
            self.leasesGranted = leasesGranted
            self.leasesRevoked = leasesRevoked
            self.blocksDone = blocksDone
            self.blocksRedone = blocksRedone
            self.duplicates = duplicates
            self.fenced = fenced
            self.conflicts = conflicts
            self.quarantinedBlocks = quarantinedBlocks
        }
    }

    package struct Environment: Hashable, Sendable, Codable {
        package var numericsClass: NumericsClass
        /// Set when stages ran on workers of several classes (`numerics: any`), which gives up identical bytes.
        package var mixedNumerics: Bool
        /// Name and version of what took part, sorted by name: `amaf`, `swift`, `openblas`.
        package var versions: [Version]

        package struct Version: Hashable, Sendable, Codable {
            package var name: String
            package var version: String
            package init(_ name: String, _ version: String) {
                self.name = name
                self.version = version
            }
        }

        package init(numericsClass: NumericsClass, mixedNumerics: Bool = false, versions: [Version]) {
            self.numericsClass = numericsClass
            self.mixedNumerics = mixedNumerics
            self.versions = versions
        }
    }
}
