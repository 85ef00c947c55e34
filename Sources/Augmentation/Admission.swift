package import Kernels
package import Primitives

/// What synthetic samples must be like to be learned from.
package struct AdmissionPolicy: Sendable, Hashable, Codable {
    /// A sample needs this much of the judge's probability on its own label.
    package var minimumAgreement: Float = 0.2
    /// Synthetic samples of a class for each real one, at most.
    package var maximumRatio: Double = 25
    /// The batch is refused below these.
    package var minimumConsistency: Double = 0.6
    package var minimumPrecision: Double = 0.7
    package var minimumCoverage: Double = 0.3
    /// Below it the generator copies.
    package var minimumMemorisationRatio: Double = 0.3
    /// The batch is refused when its Fréchet distance exceeds the floor by this share of the trace of the real features' covariance.
    package var maximumFrechetShare: Double = 0.5

    package init() {}
}

/// One method's samples judged: numbers first, then the verdict and its reasons.
package struct AdmissionReport: Sendable, Hashable, Codable {
    package var method: String
    package var offered: Int
    /// Samples left after the filters below; all of them or, when the batch is refused, none is learned from.
    package var kept: Int
    package var isAdmitted: Bool
    /// Why the batch was refused; empty when it was not.
    package var reasons: [String]

    /// Distances and neighbours compare equal mixtures: of each class as many real as synthetic samples, so that a batch for rare
    /// classes is not blamed for not being frequent ones.
    package var compared: Int
    package var frechet: Double
    /// The same between two halves of the real samples.
    package var frechetFloor: Double
    package var neighbours: NeighbourScores
    package var twoSample: TwoSampleTest
    /// Share of samples whose label the judge's likeliest class is.
    package var labelConsistency: Double
    package var memorisation: Memorisation
    /// Dropped one by one, by the first filter that caught them.
    package var droppedDuplicates: Int
    package var droppedCopies: Int
    package var droppedDoubtful: Int
    package var droppedOverQuota: Int
    package var keptByClass: [Int]
}

/// What admission looks at; features and probabilities are a judge's, trained on real samples alone.
package struct AdmissionEvidence {
    package var real: FeatureRows
    package var realLabels: [Int]
    /// Of real samples that neither generator nor judge was trained on.
    package var heldOut: FeatureRows
    package var heldOutLabels: [Int]
    package var synthetic: FeatureRows
    /// Rows of p(class), the judge's.
    package var probabilities: [Float]
    package var samples: [SyntheticSample]
    package var realCounts: [Int]

    package init(
        real: FeatureRows, realLabels: [Int], heldOut: FeatureRows, heldOutLabels: [Int], synthetic: FeatureRows, probabilities: [Float],
        samples: [SyntheticSample], realCounts: [Int]
    ) {
        precondition(
            real.count == realLabels.count && heldOut.count == heldOutLabels.count,
            "\(real.count) real rows with \(realLabels.count) labels, \(heldOut.count) held out with \(heldOutLabels.count)")
        precondition(
            synthetic.count == samples.count && probabilities.count == samples.count * realCounts.count,
            "\(samples.count) samples, \(synthetic.count) feature rows, \(probabilities.count) probabilities")
        self.real = real
        self.realLabels = realLabels
        self.heldOut = heldOut
        self.heldOutLabels = heldOutLabels
        self.synthetic = synthetic
        self.probabilities = probabilities
        self.samples = samples
        self.realCounts = realCounts
    }
}

package enum Admission {
    /// Judges one method's samples; returns the report and which samples are kept, ascending.
    ///
    /// - Throws: `augmentation.too-few` when there are too few samples for any statement.
    package static func judge(
        _ evidence: AdmissionEvidence, method: String, policy: AdmissionPolicy = AdmissionPolicy(), seed: UInt64,
        on device: any ComputeDevice
    ) throws(AMAFError) -> (report: AdmissionReport, kept: [Int]) {
        let (samples, classes) = (evidence.samples, evidence.realCounts.count)
        let offered = Set(samples.map(\.top))
        let heldOut = evidence.heldOut.rows(evidence.heldOutLabels.indices.filter { offered.contains(evidence.heldOutLabels[$0]) })
        let (real, synthetic) = mixtures(evidence, classes: offered.sorted(), seed: seed)
        guard real.count >= 20, heldOut.count >= 10 else {
            throw AMAFError(
                "augmentation.too-few",
                "\(samples.count) synthetic, \(real.count) comparable real and \(heldOut.count) held-out samples are too few to judge",
                remedy: "Make more samples, or learn from the real ones alone.")
        }
        let memorisation = Memorisation(
            training: evidence.real, heldOut: heldOut, synthetic: evidence.synthetic, on: device)
        let nearest = Memorisation.nearest(evidence.synthetic, to: evidence.real, device)
        var seen: Set<[UInt8]> = []
        var (duplicates, copies, doubtful, overQuota, agreeing) = (0, 0, 0, 0, 0)
        var keptByClass = [Int](repeating: 0, count: classes)
        var kept: [Int] = []
        for (i, sample) in samples.enumerated() {
            let row = evidence.probabilities[i * classes..<(i + 1) * classes]
            let label = sample.top
            let likeliest = row.indices.max { (row[$0], $1) < (row[$1], $0) }.map { $0 - row.startIndex }
            if likeliest == label { agreeing += 1 }
            if !seen.insert(sample.image).inserted {
                duplicates += 1
            } else if nearest[i] < memorisation.heldOutDistance / 10 {
                copies += 1
            } else if row[row.startIndex + label] < policy.minimumAgreement {
                doubtful += 1
            } else if Double(keptByClass[label] + 1) > policy.maximumRatio * Double(evidence.realCounts[label]) {
                overQuota += 1
            } else {
                keptByClass[label] += 1
                kept.append(i)
            }
        }
        let halves = halves(real, seed: seed)
        var report = AdmissionReport(
            method: method, offered: samples.count, kept: kept.count, isAdmitted: true, reasons: [],
            compared: real.count,
            frechet: FrechetDistance.between(real, synthetic),
            frechetFloor: FrechetDistance.between(halves.0, halves.1),
            neighbours: NeighbourScores(real: real, synthetic: synthetic, on: device),
            twoSample: TwoSampleTest(real: real, synthetic: synthetic, seed: seed),
            labelConsistency: Double(agreeing) / Double(samples.count), memorisation: memorisation, droppedDuplicates: duplicates,
            droppedCopies: copies, droppedDoubtful: doubtful, droppedOverQuota: overQuota, keptByClass: keptByClass)
        report.reasons = reasons(report, policy, spread: spread(real))
        report.isAdmitted = report.reasons.isEmpty
        if !report.isAdmitted { report.kept = 0 }
        return (report, report.isAdmitted ? kept : [])
    }

    static func reasons(_ report: AdmissionReport, _ policy: AdmissionPolicy, spread: Double) -> [String] {
        func three(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }
        var out: [String] = []
        if report.labelConsistency < policy.minimumConsistency {
            out.append(
                "the judge reads only \(three(report.labelConsistency)) of the labels as given (at least \(policy.minimumConsistency))")
        }
        if report.neighbours.precision < policy.minimumPrecision {
            out.append("only \(three(report.neighbours.precision)) lie among real samples (at least \(policy.minimumPrecision))")
        }
        if report.neighbours.coverage < policy.minimumCoverage {
            out.append("they cover only \(three(report.neighbours.coverage)) of the real samples (at least \(policy.minimumCoverage))")
        }
        if report.memorisation.ratio < policy.minimumMemorisationRatio {
            out.append(
                "they lie at \(three(report.memorisation.ratio)) of the distance of held-out samples, so they are copies (at least \(policy.minimumMemorisationRatio))"
            )
        }
        let limit = report.frechetFloor + policy.maximumFrechetShare * spread
        if report.frechet > limit {
            out.append(
                "Fréchet distance \(three(report.frechet)) where \(three(limit)) is allowed and \(three(report.frechetFloor)) lies between halves of the real samples"
            )
        }
        if report.kept == 0 { out.append("no sample passed the filters") }
        return out
    }

    /// The trace of the covariance: how far real samples spread.
    static func spread(_ rows: FeatureRows) -> Double {
        let (d, covariance) = (rows.width, rows.moments().covariance)
        return (0..<d).reduce(0.0) { $0 + covariance[$1 * d + $1] }
    }

    /// Of each class as many real as synthetic rows, drawn by `seed`.
    private static func mixtures(
        _ evidence: AdmissionEvidence, classes: [Int], seed: UInt64
    ) -> (real: FeatureRows, synthetic: FeatureRows) {
        var (real, synthetic): ([Int], [Int]) = ([], [])
        for label in classes {
            var mine = evidence.realLabels.indices.filter { evidence.realLabels[$0] == label }
            var made = evidence.samples.indices.filter { evidence.samples[$0].top == label }
            var generator = SeededGenerator(seed: seed, stream: "admission", "mixture", String(label))
            generator.shuffle(&mine)
            generator.shuffle(&made)
            let each = min(mine.count, made.count)
            real += mine.prefix(each)
            synthetic += made.prefix(each)
        }
        return (evidence.real.rows(real), evidence.synthetic.rows(synthetic))
    }

    private static func halves(_ rows: FeatureRows, seed: UInt64) -> (FeatureRows, FeatureRows) {
        var order = Array(0..<rows.count)
        var generator = SeededGenerator(seed: seed, stream: "admission", "halves")
        generator.shuffle(&order)
        return (rows.rows(order.prefix(rows.count / 2)), rows.rows(order.dropFirst(rows.count / 2)))
    }
}
