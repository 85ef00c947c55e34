package import Primitives

/// What a person's answer means for the final label.
package enum HumanPolicy: String, Hashable, Sendable, Codable {
    /// The answer is the label; machine opinions can only flag it.
    case answersStand = "answers-stand"
    /// The answer is evidence with the reviewer's stated accuracy, the machine opinions are the prior; the posterior decides.
    case combine
}

/// A fitted combination of machine opinions and human answers: the parameters that travel to the aggregate tasks.
///
/// Machine opinions form a logarithmic opinion pool (Genest and Zidek, 1986) with one temperature (Guo et al., 2017):
/// m(c) ∝ exp(Σ_s w_s ln p_s(c) / T) over the sources s that have an opinion. Answers a₁, a₂ … of reviewers with
/// accuracy r multiply it by Π_j [r if c = a_j, else (1 − r)/(K − 1)].
package struct OpinionPool: Hashable, Sendable, Codable {
    package var classCount: Int
    /// Machine sources in the order in which opinions are given.
    package var sources: [OpinionSource]
    /// One per source, ≥ 0.
    package var weights: [Double]
    package var temperature: Double
    package var humanPolicy: HumanPolicy
    /// Probability that a reviewer's answer is right, in (1/K, 1].
    package var reviewerAccuracy: Double
    /// Machine probability of another class from which a human answer is flagged.
    package var contradictionThreshold: Double

    package init(
        classCount: Int, sources: [OpinionSource], weights: [Double], temperature: Double = 1, humanPolicy: HumanPolicy = .answersStand,
        reviewerAccuracy: Double = 1, contradictionThreshold: Double = 0.95
    ) {
        precondition(
            classCount >= 2 && sources.count == weights.count, "\(classCount) classes, \(sources.count) sources, \(weights.count) weights")
        precondition(weights.allSatisfy { $0 >= 0 && $0.isFinite } && temperature > 0, "weights \(weights), temperature \(temperature)")
        precondition(reviewerAccuracy > 1 / Double(classCount) && reviewerAccuracy <= 1, "reviewer accuracy \(reviewerAccuracy)")
        precondition(!sources.contains(.human), "human answers are no machine source")
        self.classCount = classCount
        self.sources = sources
        self.weights = weights
        self.temperature = temperature
        self.humanPolicy = humanPolicy
        self.reviewerAccuracy = reviewerAccuracy
        self.contradictionThreshold = contradictionThreshold
    }

    /// The final label of one sample.
    ///
    /// - Parameters:
    ///   - opinions: one per source, in the order of `sources`.
    ///   - answers: classes that people gave, in the order they came; mostly none or one.
    package func combine(position: Int, opinions: [Opinion], answers: [Int] = []) -> FinalLabel {
        precondition(opinions.count == sources.count, "\(opinions.count) opinions of \(sources.count) sources")
        var used: SourceSet = []
        for (s, opinion) in opinions.enumerated() where opinion.isPresent && weights[s] > 0 { used.insert(SourceSet(sources[s])) }
        if !answers.isEmpty { used.insert(.human) }
        guard !used.isEmpty else { return FinalLabel(position: position, label: nil, confidence: 0, margin: 0, sources: []) }

        let support = OpinionSupport(opinions, classCount: classCount, including: answers)
        let machine = machineLogProbabilities(support)
        guard !answers.isEmpty else {
            // Only listed classes can win: the shared entry is at most as probable as each source's least listed class,
            // except when nobody but the uniform prior speaks, and then there are no classes to list and no label.
            return label(position: position, probabilities: machine.map(exponential), support: support, chosen: nil, sources: used)
        }

        var joint = machine
        let right = naturalLog(reviewerAccuracy)
        let wrong = naturalLog(max((1 - reviewerAccuracy) / Double(classCount - 1), 1e-300))
        for answer in answers {
            for i in joint.indices { joint[i] += i < support.classes.count && support.classes[i] == answer ? right : wrong }
        }
        let norm = logSumExp(joint) { multiplicity($0, support) }
        let posterior = joint.map { exponential($0 - norm) }
        // With the answers standing, only answered classes may win; between several the posterior decides.
        let chosen: Int? =
            humanPolicy == .combine
            ? nil : support.classes.indices.filter { answers.contains(support.classes[$0]) }.max { posterior[$0] < posterior[$1] }
        var final = label(position: position, probabilities: posterior, support: support, chosen: chosen, sources: used)
        let machineBest = support.classes.indices.max { machine[$0] < machine[$1] }
        if let machineBest, !answers.contains(support.classes[machineBest]), exponential(machine[machineBest]) >= contradictionThreshold {
            final.flags.insert(.contradictsHuman)
        }
        if let label = final.label, !answers.contains(label) { final.flags.insert(.overrulesHuman) }
        return final
    }

    /// Probabilities of the machine opinions alone over all K classes, for calibration measures and plots.
    package func machineDistribution(_ opinions: [Opinion]) -> [Double] {
        let support = OpinionSupport(opinions, classCount: classCount, including: [])
        let logs = machineLogProbabilities(support)
        var full = [Double](repeating: support.others > 0 ? exponential(logs[support.classes.count]) : 0, count: classCount)
        for (i, index) in support.classes.enumerated() { full[index] = exponential(logs[i]) }
        return full
    }

    /// ln m(c) for the support's classes and its shared entry.
    func machineLogProbabilities(_ support: OpinionSupport) -> [Double] {
        Self.logProbabilities(support, weights: weights, temperature: temperature)
    }

    static func logProbabilities(_ support: OpinionSupport, weights: [Double], temperature: Double) -> [Double] {
        var scores = [Double](repeating: 0, count: support.classes.count + 1)
        for (s, logs) in support.logs.enumerated() where weights[s] > 0 && !logs.isEmpty {
            for i in scores.indices { scores[i] += weights[s] * logs[i] / temperature }
        }
        let norm = logSumExp(scores) { $0 < support.classes.count ? 1 : Double(support.others) }
        return scores.map { $0 - norm }
    }

    private func multiplicity(_ index: Int, _ support: OpinionSupport) -> Double {
        index < support.classes.count ? 1 : Double(support.others)
    }

    /// Best class (lowest index on a tie) or `chosen`, its probability and its distance to the best other class.
    private func label(position: Int, probabilities: [Double], support: OpinionSupport, chosen: Int?, sources: SourceSet) -> FinalLabel {
        var best = chosen ?? 0
        if chosen == nil { for i in support.classes.indices where probabilities[i] > probabilities[best] { best = i } }
        var other = support.others > 0 ? probabilities[support.classes.count] : 0
        for i in support.classes.indices where i != best { other = max(other, probabilities[i]) }
        func unit(_ value: Double) -> Float { Float(min(1, max(-1, value))) }
        return FinalLabel(
            position: position, label: support.classes[best], confidence: unit(probabilities[best]),
            margin: unit(probabilities[best] - other),
            sources: sources)
    }
}

/// The pool as an artifact.
extension OpinionPool {
    private static let version: UInt16 = 1

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.version)
        writer.write(UInt32(classCount))
        writer.write(UInt8(sources.count))
        for (source, weight) in zip(sources, weights) {
            writer.write(source.rawValue)
            writer.write(weight)
        }
        writer.write(temperature)
        writer.write(UInt8(humanPolicy == .combine ? 1 : 0))
        writer.write(reviewerAccuracy)
        writer.write(contradictionThreshold)
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.malformed`.
    package init(encoded bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "opinion pool") { (reader: inout ByteReader) throws(AMAFError) in
            let malformed = AMAFError(
                "artifact.malformed", "An opinion pool holds values outside their range",
                remedy: "The file is damaged or was written by another version; delete it and run again.")
            guard try reader.read(UInt16.self) == Self.version else { throw malformed }
            let classCount = Int(try reader.read(UInt32.self))
            var sources: [OpinionSource] = []
            var weights: [Double] = []
            for _ in 0..<(try reader.read(UInt8.self)) {
                guard let source = OpinionSource(rawValue: try reader.read(UInt8.self)), source != .human else { throw malformed }
                sources.append(source)
                weights.append(try reader.readDouble())
            }
            let temperature = try reader.readDouble()
            let combines = try reader.read(UInt8.self) == 1
            let accuracy = try reader.readDouble()
            let threshold = try reader.readDouble()
            guard classCount >= 2, weights.allSatisfy({ $0 >= 0 && $0.isFinite }), temperature > 0, temperature.isFinite,
                accuracy > 1 / Double(classCount), accuracy <= 1, threshold.isFinite, reader.remaining == 0
            else { throw malformed }
            return OpinionPool(
                classCount: classCount, sources: sources, weights: weights, temperature: temperature,
                humanPolicy: combines ? .combine : .answersStand, reviewerAccuracy: accuracy, contradictionThreshold: threshold)
        }
    }
}
