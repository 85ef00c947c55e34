package import Primitives

/// What a fit that is spread over a cluster knows between two rounds: all that a worker needs to stand where the fit stands.
///
/// Not the model but the sums that it was made of. EM's steps are functions of sums of integers, so whoever replays them has the fit's
/// own numbers to the last bit, and a round costs a few M-steps instead of a state that must be carried.
package struct LabelModelRounds: Hashable, Sendable, Codable {
    package var options: LabelModelOptions
    package var functions: [FunctionID]
    package var polarity: VotePolarity
    /// One a finished round.
    package var sums: [LabelModelStatistics] = []

    /// Models whose E-step is a sum over blocks: all that EM fits under a balance that no known label decides.
    package static let kinds: [LabelModelKind] = [
        .majority, .weighted, .logLinear, .oneCoin, .mapEM, .dawidSkene, .dawidSkeneAbstain, .damped,
    ]

    /// - Parameters:
    ///   - statistics: of all blocks together, which say how often each function votes for what.
    ///   - functions: those that are fit to vote, in the matrix' order.
    package init(_ statistics: LFStatistics, functions: [FunctionID], classCount: Int, options: LabelModelOptions) {
        precondition(Self.kinds.contains(options.kind), "\(options.kind.rawValue) is not fitted in rounds")
        self.options = options
        self.functions = functions
        let positions = Dictionary(statistics.functions.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        polarity = VotePolarity(
            rows: statistics.samples, classCount: classCount,
            votesByClass: functions.map { id in positions[id].map { statistics.perFunction[$0].votesByClass } ?? [:] })
    }

    /// The fit as it stands after the finished rounds.
    package func trainer() throws(AMAFError) -> LabelModelTrainer {
        var trainer = try LabelModelTrainer(options: options, functions: functions, polarity: polarity)
        for sum in sums where !trainer.isFinished { trainer.step(sum) }
        return trainer
    }
}

extension LFStatistics {
    /// Functions that answered on at least half of the samples; the others do not vote.
    package var ableFunctions: [FunctionID] {
        functions.indices.filter { perFunction[$0].faults * 2 <= samples }.map { functions[$0] }
    }
}
