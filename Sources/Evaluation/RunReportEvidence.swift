extension RunReport {
    package struct LabelingFunctions: Hashable, Sendable, Codable {
        /// Share of samples with at least one vote; with two or more; with two that differ.
        package var coverage: Double
        package var overlap: Double
        package var conflict: Double
        package var faults: Int
        package var rows: [LabelingFunction]

        package init(coverage: Double, overlap: Double, conflict: Double, faults: Int, rows: [LabelingFunction]) {
            self.coverage = coverage
            self.overlap = overlap
            self.conflict = conflict
            self.faults = faults
            self.rows = rows
        }
    }

    /// One line of the labeling-function analysis.
    package struct LabelingFunction: Hashable, Sendable, Codable {
        package var name: String
        package var kind: String
        package var coverage: Double
        package var overlap: Double
        package var conflict: Double
        /// Votes cast, and answers that were crashes rather than abstentions.
        package var votes: Int
        package var faults: Int
        /// Share of its votes that equal gold or reviewed labels, and how many of those there were.
        package var accuracy: Double?
        package var accuracySupport: Int
        /// The label model's weight, where it has one.
        package var weight: Double?

        package init(
            name: String, kind: String, coverage: Double, overlap: Double, conflict: Double, votes: Int, faults: Int, accuracy: Double?,
            accuracySupport: Int, weight: Double? = nil
        ) {
            self.name = name
            self.kind = kind
            self.coverage = coverage
            self.overlap = overlap
            self.conflict = conflict
            self.votes = votes
            self.faults = faults
            self.accuracy = accuracy
            self.accuracySupport = accuracySupport
            self.weight = weight
        }
    }

    /// Why one of several models was taken.
    package struct ModelEvidence: Hashable, Sendable, Codable {
        package var chosen: String
        /// How the choice was made, in a sentence.
        package var criterion: String
        package var candidates: [Candidate]
        /// Share of samples with an opinion, where that applies.
        package var coverage: Double?

        package struct Candidate: Hashable, Sendable, Codable {
            package var name: String
            /// On held-out samples; `heldOut` of them.
            package var accuracy: Double?
            package var negativeLogLikelihood: Double?
            package var heldOut: Int
            /// Anything else worth knowing: fitted weights, convergence.
            package var note: String

            package init(name: String, accuracy: Double?, negativeLogLikelihood: Double?, heldOut: Int, note: String = "") {
                self.name = name
                self.accuracy = accuracy
                self.negativeLogLikelihood = negativeLogLikelihood
                self.heldOut = heldOut
                self.note = note
            }
        }

        package init(chosen: String, criterion: String, candidates: [Candidate], coverage: Double? = nil) {
            self.chosen = chosen
            self.criterion = criterion
            self.candidates = candidates
            self.coverage = coverage
        }
    }

    /// Agreement of final labels with reviewers on a uniform sample. It is an estimate and never called accuracy.
    package struct AuditEstimate: Hashable, Sendable, Codable {
        package var agreed: Int
        package var sampled: Int
        /// Wilson's interval at `level`.
        package var low: Double
        package var high: Double
        package var level: Double

        /// Wilson's 95 % interval for `agreed` of `sampled`.
        package init(agreed: Int, sampled: Int, level: Double = 0.95) {
            let interval = Proportion.wilson(successes: agreed, trials: sampled, level: level)
            self.agreed = agreed
            self.sampled = sampled
            self.low = interval.low
            self.high = interval.high
            self.level = level
        }
    }

    /// How far confidences can be believed.
    package struct Calibration: Hashable, Sendable, Codable {
        package var temperature: Double
        /// Which samples it was measured on, as the caption says it.
        package var measuredOn: String
        package var before: Measure
        package var after: Measure

        package struct Measure: Hashable, Sendable, Codable {
            package var equalWidthECE: Double
            package var equalMassECE: Double
            package var brier: Double?
            package var negativeLogLikelihood: Double?
            /// Equal-width bins of the reliability diagram, empty ones left out.
            package var bins: [Bin]

            package init(
                equalWidthECE: Double, equalMassECE: Double, brier: Double? = nil, negativeLogLikelihood: Double? = nil, bins: [Bin]
            ) {
                self.equalWidthECE = equalWidthECE
                self.equalMassECE = equalMassECE
                self.brier = brier
                self.negativeLogLikelihood = negativeLogLikelihood
                self.bins = bins
            }
        }
        package struct Bin: Hashable, Sendable, Codable {
            package var low: Double
            package var high: Double
            package var count: Int
            package var confidence: Double
            package var accuracy: Double

            package init(low: Double, high: Double, count: Int, confidence: Double, accuracy: Double) {
                self.low = low
                self.high = high
                self.count = count
                self.confidence = confidence
                self.accuracy = accuracy
            }
        }

        package init(temperature: Double, measuredOn: String = "samples that no person saw", before: Measure, after: Measure) {
            self.temperature = temperature
            self.measuredOn = measuredOn
            self.before = before
            self.after = after
        }
    }

    /// Who gave the final labels, of one seed of the main arm: the labels that the run exports.
    package struct FinalLabels: Hashable, Sendable, Codable {
        /// One row per set of sources; samples without a label are a row of their own.
        package var rows: [Row]
        /// Human answers that the machine opinions confidently contradict; worth a second look.
        package var contradictedAnswers: Int

        package struct Row: Hashable, Sendable, Codable {
            /// `human + classifier`, or `no label`.
            package var sources: String
            package var samples: Int
            package var meanConfidence: Double?
            /// Against gold, where there is some.
            package var accuracy: Double?

            package init(sources: String, samples: Int, meanConfidence: Double?, accuracy: Double?) {
                self.sources = sources
                self.samples = samples
                self.meanConfidence = meanConfidence
                self.accuracy = accuracy
            }
        }

        package init(rows: [Row], contradictedAnswers: Int = 0) {
            self.rows = rows
            self.contradictedAnswers = contradictedAnswers
        }
    }

    /// Where the final labels err: the classes with the lowest F1 and the pairs confused most.
    package struct Confusion: Hashable, Sendable, Codable {
        package var classes: [Class]
        package var pairs: [Pair]

        package struct Class: Hashable, Sendable, Codable {
            package var name: String
            package var support: Int
            package var precision: Double
            package var recall: Double
            package var f1: Double
        }
        package struct Pair: Hashable, Sendable, Codable {
            package var gold: String
            package var predicted: String
            package var count: Int
        }

        /// The `worst` classes by F1 (ties by name) and the `worst` most frequent confusions of a full count table.
        package init(_ counts: ConfusionCounts, classNames: [String], worst: Int = 10) {
            precondition(classNames.count == counts.classCount, "\(classNames.count) names for \(counts.classCount) classes")
            let scored = counts.perClass().enumerated().filter { $0.element.support > 0 }.map { index, score in
                Class(name: classNames[index], support: score.support, precision: score.precision, recall: score.recall, f1: score.f1)
            }
            classes = Array(scored.sorted { ($0.f1, $0.name) < ($1.f1, $1.name) }.prefix(worst))
            var found: [Pair] = []
            for gold in 0..<counts.classCount {
                for predicted in 0...counts.classCount where predicted != gold {
                    let count = counts.count(gold: gold, predicted: predicted == counts.classCount ? nil : predicted)
                    if count > 0 {
                        let name = predicted == counts.classCount ? "(no label)" : classNames[predicted]
                        found.append(Pair(gold: classNames[gold], predicted: name, count: count))
                    }
                }
            }
            pairs = Array(found.sorted { ($1.count, $0.gold, $0.predicted) < ($0.count, $1.gold, $1.predicted) }.prefix(worst))
        }
    }
}
