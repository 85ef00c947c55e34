internal import Primitives

/// One sample whose label a person gave, with what the machines thought of it.
package struct ReviewedSample: Hashable, Sendable {
    package var position: Int
    /// The reviewer's answer; noise in it is the caller's to state.
    package var label: Int
    /// One per source.
    package var opinions: [Opinion]
    /// Whether the opinions were formed without this answer: predictions of the round that chose the sample, or
    /// cross-fitted ones. Others make a trained classifier look better than it is.
    package var isHeldOut: Bool
    /// How many samples of the pool it stands for; 1 when the sample was drawn uniformly or nothing is known.
    package var weight: Double

    package init(position: Int, label: Int, opinions: [Opinion], isHeldOut: Bool, weight: Double = 1) {
        self.position = position
        self.label = label
        self.opinions = opinions
        self.isHeldOut = isHeldOut
        self.weight = weight
    }
}

/// Why a combination was taken: every candidate on reviewed samples that its fit did not see.
package struct PoolEvidence: Hashable, Sendable, Codable {
    package struct Row: Hashable, Sendable, Codable {
        package var name: String
        /// Cross-validated share of reviewed samples labelled as the reviewer did; an abstain counts as wrong.
        package var accuracy: Double
        /// Cross-validated mean of −ln m(answer).
        package var negativeLogLikelihood: Double
        /// Parameters fitted on all reviewed samples.
        package var weights: [Double]
        package var temperature: Double
    }
    package var rows: [Row]
    package var chosen: String
    package var criterion: String
    package var heldOutSamples: Int
    package var folds: Int
    package var warnings: [String]
}

/// Fits an `OpinionPool` on reviewed samples and proves it against each source alone.
package struct PoolFitter: Hashable, Sendable {
    package var classCount: Int
    /// Machine sources; the first is the baseline that the pool must not lose to, by custom the classifier.
    package var sources: [OpinionSource]
    package var folds = 5
    /// Below this many usable samples nothing is fitted: the baseline is taken as it is.
    package var minimumSamples = 50
    package var humanPolicy: HumanPolicy = .answersStand
    package var reviewerAccuracy = 1.0
    package var seed: UInt64

    package init(classCount: Int, sources: [OpinionSource], seed: UInt64) {
        precondition(!sources.isEmpty, "a pool needs a source")
        self.classCount = classCount
        self.sources = sources
        self.seed = seed
    }

    /// The pool to use and the table that says why. The result depends on the samples' positions, not on their order.
    ///
    /// Candidates: each source alone and all sources with equal weights, both with a fitted temperature, and all with
    /// fitted weights. Of those whose cross-validated accuracy is no worse than the baseline's, the one with the
    /// lowest cross-validated negative log-likelihood is taken.
    package func fit(_ reviewed: [ReviewedSample]) -> (pool: OpinionPool, evidence: PoolEvidence) {
        var warnings: [String] = []
        var usable = reviewed.filter(\.isHeldOut).sorted { $0.position < $1.position }
        if usable.count < minimumSamples && reviewed.count >= minimumSamples {
            usable = reviewed.sorted { $0.position < $1.position }
            warnings.append(
                "Too few held-out predictions; weights and temperature were fitted on samples the classifier was trained on, so confidence may be too high."
            )
        }
        guard usable.count >= minimumSamples else {
            warnings.append(
                "Only \(usable.count) reviewed samples; \(minimumSamples) are needed to fit weights, so \(sources[0].name) is used as it is."
            )
            let weights = sources.indices.map { $0 == 0 ? 1.0 : 0.0 }
            let evidence = PoolEvidence(
                rows: [], chosen: sources[0].name, criterion: "too few reviewed samples to compare", heldOutSamples: usable.count, folds: 0,
                warnings: warnings)
            return (pool(weights: weights, temperature: 1), evidence)
        }

        let cases = PoolCases(usable, classCount: classCount, sourceCount: sources.count)
        var fold = usable.indices.map { $0 % folds }
        var generator = SeededGenerator(seed: seed, stream: "aggregate", "folds")
        generator.shuffle(&fold)

        let total = usable.reduce(0) { $0 + $1.weight }
        var rows: [PoolEvidence.Row] = []
        for candidate in candidates() {
            var hits = 0.0
            var loss = 0.0
            for held in 0..<folds {
                let (weights, temperature) = parameters(of: candidate, on: cases, rows: usable.indices.filter { fold[$0] != held })
                let score = cases.score(usable.indices.filter { fold[$0] == held }, weights: weights, temperature: temperature)
                hits += score.hits
                loss += score.loss
            }
            let final = parameters(of: candidate, on: cases, rows: Array(usable.indices))
            rows.append(
                PoolEvidence.Row(
                    name: candidate.name, accuracy: hits / total, negativeLogLikelihood: loss / total, weights: final.weights,
                    temperature: final.temperature))
        }
        var best = 0
        for i in rows.indices
        where rows[i].accuracy >= rows[0].accuracy - 1e-12 && rows[i].negativeLogLikelihood < rows[best].negativeLogLikelihood {
            best = i
        }
        let evidence = PoolEvidence(
            rows: rows, chosen: rows[best].name,
            criterion:
                "lowest negative log-likelihood in \(folds)-fold cross-validation on \(usable.count) reviewed samples, among candidates no less accurate than \(sources[0].name) alone",
            heldOutSamples: usable.count, folds: folds, warnings: warnings)
        return (pool(weights: rows[best].weights, temperature: rows[best].temperature), evidence)
    }

    private func pool(weights: [Double], temperature: Double) -> OpinionPool {
        OpinionPool(
            classCount: classCount, sources: sources, weights: weights, temperature: temperature, humanPolicy: humanPolicy,
            reviewerAccuracy: reviewerAccuracy)
    }

    // MARK: Candidates

    private struct Candidate {
        var name: String
        /// Fixed weights, or nil for fitted ones.
        var weights: [Double]?
    }

    private func candidates() -> [Candidate] {
        var list = sources.indices.map { s in Candidate(name: sources[s].name, weights: sources.indices.map { $0 == s ? 1 : 0 }) }
        if sources.count > 1 {
            list.append(Candidate(name: "equal pool", weights: sources.map { _ in 1 }))
            list.append(Candidate(name: "learned pool", weights: nil))
        }
        return list
    }

    private func parameters(of candidate: Candidate, on cases: PoolCases, rows: [Int]) -> (weights: [Double], temperature: Double) {
        let weights = candidate.weights ?? cases.fittedWeights(rows)
        return (weights, cases.fittedTemperature(rows, weights: weights))
    }
}
