import Aggregation
import Primitives
import Testing

/// Labels with planted truth: every source is an observer whose reliability we chose.
struct PlantedOpinions {
    var truth: [Int]
    var samples: [ReviewedSample]

    /// - Parameters:
    ///   - classifier, labelModel: share of samples on which the source's favourite is the truth.
    ///   - sharpness: the classifier's claimed probability of its favourite, whatever its real reliability is.
    ///   - coverage: share of samples on which the label model speaks.
    static func make(
        count: Int, classes: Int, classifier: Double, sharpness: Double, labelModel: Double, coverage: Double = 1, seed: UInt64
    ) -> PlantedOpinions {
        var generator = SeededGenerator(seed: seed, stream: "planted")
        var planted = PlantedOpinions(truth: [], samples: [])
        func observe(_ truth: Int, reliability: Double, claimed: Double) -> Opinion {
            let isRight = generator.uniform() < reliability
            let favourite = isRight ? truth : (truth + 1 + generator.index(below: classes - 1)) % classes
            var p = [Float](repeating: Float((1 - claimed) / Double(classes - 1)), count: classes)
            p[favourite] = Float(claimed)
            return .distribution(p)
        }
        for position in 0..<count {
            let truth = generator.index(below: classes)
            let first = observe(truth, reliability: classifier, claimed: sharpness)
            let second = observe(truth, reliability: labelModel, claimed: labelModel)
            let speaks = generator.uniform() < coverage
            planted.truth.append(truth)
            planted.samples.append(
                ReviewedSample(position: position, label: truth, opinions: [first, speaks ? second : .absent], isHeldOut: true))
        }
        return planted
    }
}

@Suite struct PoolFittingTests {
    private func fitter(_ classes: Int) -> PoolFitter { PoolFitter(classCount: classes, sources: [.classifier, .labelModel], seed: 1) }

    @Test func temperatureRecoversTheTruth() {
        // The classifier is right on 70 % but claims 95 %. With K = 5, tempering p by 1/T leaves q = .95^(1/T) / (.95^(1/T) + 4 · .0125^(1/T));
        // q = .7 needs ln(.95/.0125)/T = ln(.7/.075), so T = 4.3307/2.2336 = 1.9389.
        let planted = PlantedOpinions.make(count: 4000, classes: 5, classifier: 0.7, sharpness: 0.95, labelModel: 0.2, seed: 3)
        let alone = PoolFitter(classCount: 5, sources: [.classifier], seed: 1).fit(
            planted.samples.map {
                ReviewedSample(position: $0.position, label: $0.label, opinions: [$0.opinions[0]], isHeldOut: true)
            })
        #expect(abs(alone.pool.temperature - 1.9389) < 0.08, "\(alone.pool.temperature)")
        let label = alone.pool.combine(position: 0, opinions: [planted.samples[0].opinions[0]])
        #expect(abs(label.confidence - 0.7) < 0.02, "\(label.confidence)")
    }

    @Test func weightsRecoverTheTruth() {
        // Two independent observers that state their reliability: the right pool is the product, weights 1 and 1.
        let planted = PlantedOpinions.make(count: 4000, classes: 4, classifier: 0.8, sharpness: 0.8, labelModel: 0.65, seed: 8)
        let (pool, evidence) = fitter(4).fit(planted.samples)
        for weight in pool.weights { #expect(abs(weight / pool.temperature - 1) < 0.1, "\(pool.weights), \(pool.temperature)") }
        #expect(evidence.rows.map(\.name) == ["classifier", "label-model", "equal pool", "learned pool"])
        let learned = evidence.rows[3]
        let classifier = evidence.rows[0]
        #expect(learned.negativeLogLikelihood < classifier.negativeLogLikelihood - 0.05)
        #expect(evidence.chosen == "equal pool" || evidence.chosen == "learned pool")
    }

    @Test func poolingTwoIndependentSourcesBeatsBoth() {
        // Three observers would be needed for a majority to win; a classifier with graded confidence is enough for a pool.
        let sharp = PlantedOpinions.make(count: 1500, classes: 3, classifier: 0.9, sharpness: 0.9, labelModel: 0.8, seed: 21)
        let blunt = PlantedOpinions.make(count: 1500, classes: 3, classifier: 0.5, sharpness: 0.5, labelModel: 0.8, seed: 22)
        var samples = sharp.samples
        for sample in blunt.samples {
            samples.append(
                ReviewedSample(position: sample.position + 1500, label: sample.label, opinions: sample.opinions, isHeldOut: true))
        }
        let (_, evidence) = fitter(3).fit(samples)
        let best = evidence.rows.filter { $0.name.hasSuffix("pool") }.map(\.accuracy).max() ?? 0
        #expect(best > evidence.rows[0].accuracy + 0.05 && best > evidence.rows[1].accuracy + 0.02, "\(evidence)")
    }

    @Test func aUselessSourceLosesItsWeightAndNeverTheLabel() {
        // The label model answers at random with 60 % claimed: an equal pool would be hurt by it.
        var planted = PlantedOpinions.make(count: 3000, classes: 4, classifier: 0.85, sharpness: 0.55, labelModel: 0.25, seed: 5)
        for i in planted.samples.indices {
            var p: [Float] = [0.1, 0.1, 0.1, 0.1]
            p[(i * 7) % 4] = 0.7
            planted.samples[i].opinions[1] = .distribution(p)
        }
        let (pool, evidence) = fitter(4).fit(planted.samples)
        #expect(evidence.chosen == "classifier" || pool.weights[1] < 0.1 * pool.weights[0], "\(evidence.chosen), \(pool.weights)")
        let row = evidence.rows.first { $0.name == evidence.chosen }
        #expect((row?.accuracy ?? 0) >= evidence.rows[0].accuracy)
        let equal = evidence.rows[2]
        #expect(equal.accuracy < evidence.rows[0].accuracy - 0.1, "the test must be able to fail: \(equal)")
    }

    @Test func fewReviewsFitNothing() {
        let planted = PlantedOpinions.make(count: 20, classes: 4, classifier: 0.8, sharpness: 0.8, labelModel: 0.6, seed: 1)
        let (pool, evidence) = fitter(4).fit(planted.samples)
        #expect(pool.weights == [1, 0] && pool.temperature == 1)
        #expect(evidence.rows.isEmpty && evidence.chosen == "classifier" && evidence.warnings.count == 1)
    }

    @Test func inSamplePredictionsAreUsedOnlyWithAWarning() {
        var planted = PlantedOpinions.make(count: 200, classes: 4, classifier: 0.8, sharpness: 0.8, labelModel: 0.6, seed: 1)
        for i in planted.samples.indices { planted.samples[i].isHeldOut = i < 60 }
        let some = fitter(4).fit(planted.samples).evidence
        #expect(some.heldOutSamples == 60 && some.warnings.isEmpty, "the held-out ones suffice")
        for i in planted.samples.indices { planted.samples[i].isHeldOut = i < 10 }
        let none = fitter(4).fit(planted.samples).evidence
        #expect(none.heldOutSamples == 200 && none.warnings.count == 1)
    }

    @Test func orderOfReviewsDoesNotMatter() {
        let planted = PlantedOpinions.make(
            count: 400, classes: 6, classifier: 0.7, sharpness: 0.9, labelModel: 0.6, coverage: 0.5, seed: 13)
        let forwards = fitter(6).fit(planted.samples)
        let backwards = fitter(6).fit(planted.samples.reversed())
        #expect(forwards.pool == backwards.pool && forwards.evidence == backwards.evidence)
    }

    @Test func weightsOfSamplesCount() {
        // Samples on which the classifier claims .95 and is right half of the time, and some where it is always right. Weighted up, the good
        // ones must raise the confidence.
        let planted = PlantedOpinions.make(count: 1000, classes: 3, classifier: 0.5, sharpness: 0.95, labelModel: 0.3, seed: 2)
        let single = PoolFitter(classCount: 3, sources: [.classifier], seed: 1)
        func temperature(_ weight: Double) -> Double {
            single.fit(
                planted.samples.map { sample in
                    guard case .distribution(let p) = sample.opinions[0] else { return sample }
                    let isRight = p[sample.label] > 0.5
                    return ReviewedSample(
                        position: sample.position, label: sample.label, opinions: [sample.opinions[0]], isHeldOut: true,
                        weight: isRight ? weight : 1)
                }
            ).pool.temperature
        }
        #expect(temperature(4) < 0.7 * temperature(1))
    }
}

@Suite struct PoolCombinationTests {
    private func pool(
        _ classes: Int, weights: [Double] = [1, 1], policy: HumanPolicy = .answersStand, accuracy: Double = 1
    ) -> OpinionPool {
        OpinionPool(
            classCount: classes, sources: [.classifier, .labelModel], weights: weights, humanPolicy: policy, reviewerAccuracy: accuracy)
    }

    @Test func theProductOfTwoOpinions() {
        // (.6, .3, .1) · (.2, .7, .1) ∝ .12, .21, .01, sum .34.
        let label = pool(3).combine(position: 4, opinions: [.distribution([0.6, 0.3, 0.1]), .distribution([0.2, 0.7, 0.1])])
        #expect(label.label == 1 && label.position == 4)
        #expect(abs(label.confidence - 0.21 / 0.34) < 1e-6 && abs(label.margin - 0.09 / 0.34) < 1e-6)
        #expect(label.sources == [.classifier, .labelModel] && label.sources.names == ["classifier", "label-model"])
    }

    @Test func absentOpinionsLeaveTheOthersAlone() {
        let label = pool(3).combine(position: 0, opinions: [.distribution([0.6, 0.3, 0.1]), .absent])
        #expect(label.label == 0 && abs(label.confidence - 0.6) < 1e-6 && label.sources == [.classifier])
        let nobody = pool(3).combine(position: 0, opinions: [.absent, .absent])
        #expect(nobody.label == nil && nobody.confidence == 0 && nobody.sources == [])
        let unheard = pool(3, weights: [1, 0]).combine(position: 0, opinions: [.absent, .distribution([1, 0, 0])])
        #expect(unheard.label == nil, "a source without weight gives no label")
    }

    @Test func topTwoSpreadsTheRestEvenly() {
        let short = pool(5).combine(
            position: 0,
            opinions: [
                .topTwo(first: 3, firstProbability: 0.5, second: 1, secondProbability: 0.2), .distribution([0.1, 0.2, 0.3, 0.2, 0.2]),
            ])
        let full = pool(5).combine(
            position: 0, opinions: [.distribution([0.1, 0.2, 0.1, 0.5, 0.1]), .distribution([0.1, 0.2, 0.3, 0.2, 0.2])])
        #expect(short.label == 3 && abs(short.confidence - full.confidence) < 1e-6 && abs(short.margin - full.margin) < 1e-6)
    }

    @Test func aSupportOfManyClassesKeepsTheMass() {
        // 150 classes, three of them likely, the rest equal: the restriction is exact and must sum to one.
        var a = [Float](repeating: 0.4 / 147, count: 150)
        a[10] = 0.3
        a[70] = 0.2
        a[149] = 0.1
        let opinions: [Opinion] = [.distribution(a), .topTwo(first: 70, firstProbability: 0.5, second: 3, secondProbability: 0.3)]
        let distribution = pool(150).machineDistribution(opinions)
        #expect(abs(distribution.reduce(0, +) - 1) < 1e-9)
        // Against the plain product over all 150 classes.
        var plain = a.map(Double.init)
        for i in plain.indices { plain[i] *= i == 70 ? 0.5 : (i == 3 ? 0.3 : 0.2 / 148) }
        let total = plain.reduce(0, +)
        for i in plain.indices { #expect(abs(distribution[i] - plain[i] / total) < 1e-6, "class \(i)") }
        let label = pool(150).combine(position: 0, opinions: opinions)
        #expect(label.label == 70 && abs(Double(label.confidence) - plain[70] / total) < 1e-6)
    }

    @Test func standingAnswersAreFlaggedNotOverruled() {
        let sure: [Opinion] = [.distribution([0.97, 0.02, 0.01]), .distribution([0.8, 0.1, 0.1])]
        let label = pool(3, accuracy: 0.9).combine(position: 0, opinions: sure, answers: [1])
        #expect(label.label == 1 && label.sources.contains(.human))
        #expect(label.flags == .contradictsHuman)
        #expect(label.margin < 0, "the machines outvote the person in probability")
        let calm = pool(3, accuracy: 0.9).combine(position: 0, opinions: [.distribution([0.5, 0.4, 0.1]), .absent], answers: [1])
        #expect(calm.label == 1 && calm.flags == [])
        // Posterior .4 · .9 against .5 · .05 and .1 · .05.
        #expect(abs(calm.confidence - 0.36 / 0.39) < 1e-6)
        let infallible = pool(3).combine(position: 0, opinions: sure, answers: [1])
        #expect(infallible.label == 1 && infallible.confidence > 0.999999)
        let alone = pool(3, accuracy: 0.9).combine(position: 0, opinions: [.absent, .absent], answers: [2])
        #expect(alone.label == 2 && abs(alone.confidence - 0.9) < 1e-6 && alone.sources == .human)
    }

    @Test func combiningMayOverruleANoisyReviewer() {
        let combining = pool(3, policy: .combine, accuracy: 0.9)
        let label = combining.combine(position: 0, opinions: [.distribution([0.99, 0.005, 0.005]), .absent], answers: [1])
        // .99 · .05 against .005 · .9 and .005 · .05.
        #expect(label.label == 0 && abs(label.confidence - 0.0495 / (0.0495 + 0.0045 + 0.00025)) < 1e-5)
        #expect(label.flags == [.contradictsHuman, .overrulesHuman])
        let two = combining.combine(position: 0, opinions: [.distribution([0.99, 0.005, 0.005]), .absent], answers: [1, 1])
        #expect(two.label == 1 && two.flags == .contradictsHuman, "two people who agree outweigh it")
    }

    @Test func disagreeingPeopleAreSettledByTheMachines() {
        let label = pool(3, accuracy: 0.9).combine(position: 0, opinions: [.distribution([0.2, 0.3, 0.5]), .absent], answers: [0, 1])
        #expect(label.label == 1, "class 2 was nobody's answer")
    }

    /// A reviewer with 10 % wrong answers on samples the machines know well: combining repairs more than it breaks, and flags find the errors.
    @Test func plantedReviewerErrorsAreFound() {
        let planted = PlantedOpinions.make(count: 4000, classes: 5, classifier: 0.97, sharpness: 0.97, labelModel: 0.9, seed: 31)
        var generator = SeededGenerator(seed: 99)
        let standing = pool(5, accuracy: 0.9)
        let combining = pool(5, policy: .combine, accuracy: 0.9)
        var (wrongAnswers, flaggedWrong, flagged, standingRight, combinedRight) = (0, 0, 0, 0, 0)
        for (sample, truth) in zip(planted.samples, planted.truth) {
            let isWrong = generator.uniform() < 0.1
            let answer = isWrong ? (truth + 1 + generator.index(below: 4)) % 5 : truth
            let stands = standing.combine(position: sample.position, opinions: sample.opinions, answers: [answer])
            let combined = combining.combine(position: sample.position, opinions: sample.opinions, answers: [answer])
            if isWrong { wrongAnswers += 1 }
            if stands.flags.contains(.contradictsHuman) {
                flagged += 1
                if isWrong { flaggedWrong += 1 }
            }
            if stands.label == truth { standingRight += 1 }
            if combined.label == truth { combinedRight += 1 }
        }
        #expect(standingRight == 4000 - wrongAnswers)
        #expect(combinedRight > standingRight + wrongAnswers / 2, "\(combinedRight) against \(standingRight) of 4000")
        #expect(
            flaggedWrong * 10 > wrongAnswers * 7 && flaggedWrong * 10 > flagged * 8,
            "\(flaggedWrong) of \(wrongAnswers), \(flagged) flagged")
    }

    @Test func confidenceIsCalibrated() {
        let planted = PlantedOpinions.make(
            count: 6000, classes: 4, classifier: 0.75, sharpness: 0.97, labelModel: 0.6, coverage: 0.6, seed: 77)
        let (pool, _) = PoolFitter(classCount: 4, sources: [.classifier, .labelModel], seed: 1).fit(Array(planted.samples.prefix(3000)))
        var confidence = 0.0
        var right = 0.0
        for (sample, truth) in zip(planted.samples, planted.truth).dropFirst(3000) {
            let label = pool.combine(position: sample.position, opinions: sample.opinions)
            confidence += Double(label.confidence)
            if label.label == truth { right += 1 }
        }
        // One standard error of the share right is 0.8 points.
        #expect(abs(confidence - right) / 3000 < 0.03, "\(confidence / 3000) claimed, \(right / 3000) right")
    }
}
