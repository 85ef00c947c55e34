package import Primitives

/// One way to fill a training set up, measured with one seed.
package struct AuditedArm: Sendable, Hashable, Codable {
    package var name: String
    package var trainingSamples: Int
    package var scores: BiasScores
    package var headTailGap: Double
    /// The verdicts on its synthetic samples; empty for arms without any.
    package var admission: [AdmissionReport]

    package init(name: String, trainingSamples: Int, scores: BiasScores, headTailGap: Double, admission: [AdmissionReport]) {
        self.name = name
        self.trainingSamples = trainingSamples
        self.scores = scores
        self.headTailGap = headTailGap
        self.admission = admission
    }
}

/// Whether augmentation reduced bias: arms side by side over seeds, each against the baseline without it and against plain
/// oversampling, which costs nothing.
package struct AugmentationAudit: Sendable, Hashable, Codable {
    package struct Row: Sendable, Hashable, Codable {
        package var name: String
        package var meanAccuracy: Double
        package var worstAccuracy: Double
        package var headTailGap: Double
        package var parityGap: Double
        package var opportunityGap: Double
        /// Of the head–tail gap against no augmentation, and against oversampling; nil for these themselves.
        package var againstNone: GapComparison?
        package var againstOversampling: GapComparison?
        /// Two-sided p of the difference in mean accuracy against no augmentation, and the difference itself.
        package var accuracyChange: Double
        package var accuracyP: Double?
        /// Seeds in which every method's batch would have been admitted; nil without synthetic samples.
        package var admittedSeeds: Int?
        package var admissionReasons: [String]
    }
    package var seeds: [UInt64]
    package var rows: [Row]

    package static let none = "none"
    package static let oversampling = "oversampling"
    /// The arm that learns from all samples of a method although its batch was refused; in seeds that refused nothing it is the method's own.
    package static func despiteRefusal(_ name: String) -> String { name + despiteRefusalSuffix }
    private static let despiteRefusalSuffix = " despite refusal"

    /// - Parameter runs: the arms of each seed, in the same order for all seeds; `none` among them.
    /// - Throws: `augmentation.audit` when runs do not fit together.
    package init(seeds: [UInt64], runs: [[AuditedArm]]) throws(AMAFError) {
        guard seeds.count == runs.count, runs.count >= 2, let first = runs.first, runs.allSatisfy({ $0.map(\.name) == first.map(\.name) })
        else {
            throw AMAFError(
                "augmentation.audit", "\(runs.count) runs of \(seeds.count) seeds do not have the same arms", remedy: "Run the audit again."
            )
        }
        self.seeds = seeds
        func series(_ name: String, _ value: (AuditedArm) -> Double) -> [Double]? {
            first.firstIndex { $0.name == name }.map { at in runs.map { value($0[at]) } }
        }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        let gapWithout = series(Self.none) { $0.headTailGap }
        let gapOversampled = series(Self.oversampling) { $0.headTailGap }
        let accuracyWithout = series(Self.none) { $0.scores.meanAccuracy } ?? []
        let all = first.indices.map { at in
            let arms = runs.map { $0[at] }
            let name = arms[0].name
            let gaps = arms.map(\.headTailGap)
            let accuracies = arms.map(\.scores.meanAccuracy)
            let isJudged = !arms[0].admission.isEmpty
            let against: ([Double]?) -> GapComparison? = { other in
                other.map { GapComparison(baseline: $0, treated: gaps, seed: seeds[0]) }
            }
            return Row(
                name: name, meanAccuracy: mean(accuracies), worstAccuracy: mean(arms.map(\.scores.worstAccuracy)), headTailGap: mean(gaps),
                parityGap: mean(arms.map(\.scores.parityGap)), opportunityGap: mean(arms.map(\.scores.opportunityGap)),
                againstNone: name == Self.none ? nil : against(gapWithout),
                againstOversampling: name == Self.none || name == Self.oversampling ? nil : against(gapOversampled),
                accuracyChange: mean(accuracies) - mean(accuracyWithout),
                accuracyP: name == Self.none
                    ? nil : GapComparison(baseline: accuracyWithout, treated: accuracies, seed: seeds[0]).p,
                admittedSeeds: isJudged ? arms.count { $0.admission.allSatisfy(\.isAdmitted) } : nil,
                admissionReasons: Array(
                    Set(arms.flatMap { $0.admission.flatMap { report in report.reasons.map { "\(report.method): \($0)" } } })
                )
                .sorted())
        }
        // Where nothing was refused there is nothing to suppose.
        rows = all.filter { !$0.name.hasSuffix(Self.despiteRefusalSuffix) || $0.admittedSeeds != seeds.count }
    }

    /// The table for people.
    package func markdown() -> String {
        func percent(_ x: Double) -> String { "\((x * 1000).rounded() / 10) %" }
        func p(_ x: Double) -> String { x < 0.0001 ? "< 0.0001" : "\((x * 10000).rounded() / 10000)" }
        func change(_ comparison: GapComparison?) -> String {
            guard let c = comparison else { return "–" }
            let reduction = -c.relativeReduction
            return "\(reduction > 0 ? "+" : "")\(percent(reduction)) [\(percent(-c.high)), \(percent(-c.low))], p \(p(c.p))"
        }
        var out = "Seeds: \(seeds.map(String.init).joined(separator: ", "))\n\n"
        out +=
            "| training set | mean acc. | change, p | worst class | head–tail gap | gap against none [95 %] | gap against oversampling | parity gap | admitted |\n"
        out += "|---|---|---|---|---|---|---|---|---|\n"
        for row in rows {
            let accuracy = row.accuracyP.map { "\(row.accuracyChange > 0 ? "+" : "")\(percent(row.accuracyChange)), p \(p($0))" } ?? "–"
            let admitted = row.admittedSeeds.map { "\($0) of \(seeds.count)" } ?? "–"
            out +=
                "| \(row.name) | \(percent(row.meanAccuracy)) | \(accuracy) | \(percent(row.worstAccuracy)) | \(percent(row.headTailGap)) | \(change(row.againstNone)) | \(change(row.againstOversampling)) | \(percent(row.parityGap)) | \(admitted) |\n"
        }
        let refused = rows.filter { !$0.admissionReasons.isEmpty && !$0.name.hasSuffix(Self.despiteRefusalSuffix) }
        if !refused.isEmpty {
            out += "\nRefused in some seed:\n"
            for row in refused { for reason in row.admissionReasons.prefix(4) { out += "- \(row.name): \(reason)\n" } }
        }
        return out
    }
}
