import Augmentation
import Primitives
import Testing

@Suite struct ClassPosteriorTests {
    /// Two classes: means at (1, −2) and (−3, 0.5), correlated in the first.
    static func rows() -> LatentRows {
        var noise = GaussianStream(SeededGenerator(seed: 3))
        var rows = LatentRows(width: 2)
        for i in 0..<4000 {
            let (a, b) = (noise.next(), noise.next())
            let label = i % 2
            rows.positions.append(i)
            rows.labels.append(label)
            rows.mean += label == 0 ? [Float(1 + a), Float(-2 + 0.8 * a + 0.6 * b)] : [Float(-3 + 0.5 * a), Float(0.5 + 2 * b)]
            rows.logVariance += [-20, -20]
        }
        return rows
    }

    @Test func recoverTheGaussiansTheyWereMadeFrom() throws {
        var whole = ClassPosteriors.Gatherer(width: 2)
        whole.add(Self.rows())
        let posteriors = whole.posteriors()
        let first = try posteriors.gaussian(of: 0)
        #expect(abs(first.mean[0] - 1) < 0.08 && abs(first.mean[1] + 2) < 0.08)
        // L of [[1, .8], [.8, 1]] is [[1, 0], [.8, .6]].
        #expect(abs(first.factor[0] - 1) < 0.06 && abs(first.factor[2] - 0.8) < 0.06 && abs(first.factor[3] - 0.6) < 0.06)
        let second = try posteriors.gaussian(of: 1)
        #expect(abs(second.factor[0] - 0.5) < 0.03 && abs(second.factor[3] - 2) < 0.12)
        #expect(second.members.count == 2000 && second.members.allSatisfy { $0 % 2 == 1 })

        // Draws have the moments of what they are drawn from.
        let sampler = LatentSampler(posteriors, seed: 5)
        let none = LatentRows(width: 2)
        let drawn = try (0..<20000).map { try sampler.draw(.classPosterior, label: 0, item: $0, parents: [], rows: none).z }
        let mean = drawn.reduce(0.0) { $0 + Double($1[1]) } / 20000
        let product = drawn.reduce(0.0) { $0 + Double($1[0] - 1) * Double($1[1] + 2) } / 20000
        #expect(abs(mean + 2) < 0.1)
        #expect(abs(product - 0.8) < 0.1)
        // The paper's prior does not know the class.
        let prior = try (0..<4000).map { try sampler.draw(.prior, label: 0, item: $0, parents: [], rows: none).z }
        #expect(abs(prior.reduce(0.0) { $0 + Double($1[1]) } / 4000) < 0.1)
    }

    @Test func variancesOfTheEncoderCount() throws {
        var gatherer = ClassPosteriors.Gatherer(width: 1)
        gatherer.add(LatentRows(width: 1, positions: [0, 1, 2], labels: [0, 0, -1], mean: [2, 2, 9], logVariance: [0, 0, 0]))
        let gaussian = try gatherer.posteriors().gaussian(of: 0)
        #expect(abs(gaussian.factor[0] - 1) < 1e-6 && gaussian.mean == [2] && gaussian.members == [0, 1])
    }

    @Test func surviveTheirBytes() throws {
        var gatherer = ClassPosteriors.Gatherer(width: 2)
        gatherer.add(Self.rows())
        let posteriors = gatherer.posteriors()
        let bytes = posteriors.encode()
        #expect(try ClassPosteriors(decoding: bytes) == posteriors)
        for cut in stride(from: 0, to: 120, by: 7) {
            #expect(throws: AMAFError.self) { try ClassPosteriors(decoding: Array(bytes[..<cut])) }
        }
    }

    @Test func classesWithoutImagesAreRefused() {
        let sampler = LatentSampler(ClassPosteriors(width: 2, classes: [:]), seed: 1)
        #expect(throws: AMAFError.self) { try sampler.parents(.interpolation, label: 4, item: 0) }
    }

    @Test func interpolationStaysBetweenItsParents() throws {
        var gatherer = ClassPosteriors.Gatherer(width: 2)
        let rows = Self.rows()
        gatherer.add(rows)
        let sampler = LatentSampler(gatherer.posteriors(), seed: 9)
        for item in 0..<200 {
            let parents = try sampler.parents(.interpolation, label: 1, item: item)
            #expect(Set(parents).count == 2 && parents.allSatisfy { rows.labels[$0] == 1 })
            let given = LatentRows(
                width: 2, positions: parents, labels: [1, 1], mean: parents.flatMap { rows.mean[2 * $0..<2 * $0 + 2] },
                logVariance: [0, 0, 0, 0])
            let z = try sampler.draw(.interpolation, label: 1, item: item, parents: parents, rows: given).z
            for i in 0..<2 {
                let (a, b) = (rows.mean[2 * parents[0] + i], rows.mean[2 * parents[1] + i])
                #expect(z[i] >= min(a, b) - 1e-5 && z[i] <= max(a, b) + 1e-5)
            }
            // The same item is the same draw, whoever asks.
            #expect(try sampler.draw(.interpolation, label: 1, item: item, parents: parents, rows: given).z == z)
        }
    }

    @Test func jitterFollowsTheEncodersVariance() throws {
        var gatherer = ClassPosteriors.Gatherer(width: 1)
        gatherer.add(LatentRows(width: 1, positions: [0, 1], labels: [0, 0], mean: [5, 5], logVariance: [0, 0]))
        let sampler = LatentSampler(gatherer.posteriors(), seed: 2)
        let values = try (0..<3000).map { item in
            let parents = try sampler.parents(.jitter, label: 0, item: item)
            let row = LatentRows(width: 1, positions: parents, labels: [0], mean: [5], logVariance: [Float(2 * 0.6931472)])
            return Double(try sampler.draw(.jitter, label: 0, item: item, parents: parents, rows: row).z[0])
        }
        let mean = values.reduce(0, +) / 3000
        let deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 3000).squareRoot()
        #expect(abs(mean - 5) < 0.15 && abs(deviation - 2) < 0.12)
    }
}

@Suite struct RotationTests {
    static let image: [UInt8] = (0..<20 * 20).map { i in
        let (x, y) = (i % 20, i / 20)
        return (6..<14).contains(x) && (3..<17).contains(y) ? 200 : 0
    }

    @Test func noTurnIsTheImageItself() {
        #expect(GreyRotation.turn(Self.image, width: 20, height: 20, degrees: 0) == Self.image)
    }
    @Test func aQuarterTurnMovesEveryPixelToItsPlace() {
        let turned = GreyRotation.turn(Self.image, width: 20, height: 20, degrees: 90)
        // A standing bar comes to lie. Its edges fall between subsamples, so inside and outside are compared, not the rim.
        #expect(turned[10 * 20 + 5] == 200 && turned[4 * 20 + 10] == 0 && Self.image[4 * 20 + 10] == 200)
        let around = (0..<4).reduce(Self.image) { image, _ in GreyRotation.turn(image, width: 20, height: 20, degrees: 90) }
        #expect(zip(around, Self.image).allSatisfy { abs(Int($0) - Int($1)) <= 150 })
        #expect(around[10 * 20 + 10] == 200)
    }
    @Test func smallTurnsKeepTheLight() {
        let turned = GreyRotation.turn(Self.image, width: 20, height: 20, degrees: 12)
        let (before, after) = (Self.image.reduce(0) { $0 + Int($1) }, turned.reduce(0) { $0 + Int($1) })
        #expect(abs(before - after) < before / 50)
        #expect(turned != Self.image)
    }
    @Test func mirroringSwapsSides() {
        var image = [UInt8](repeating: 0, count: 16)
        image[4] = 90
        #expect(GreyRotation.turn(image, width: 4, height: 4, degrees: 0, mirror: true)[7] == 90)
    }
    @Test func radiographsAreNeverMirroredNorTurnedFar() throws {
        let rule = RotationRules().rule(3)
        #expect(rule == .radiograph && !rule.mayMirror && rule.maximumDegrees == 15)
        // The bar's centre column stays above its centre: 15° cannot bring it to lie.
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<40 {
            let turned = try GreyRotation.draw(Self.image, width: 20, height: 20, rule: rule, generator: &generator)
            #expect(turned[10 * 20 + 10] == 200 && turned[10 * 20 + 1] == 0)
        }
    }
    @Test func whatIsForbiddenIsRefused() {
        var generator = SeededGenerator(seed: 1)
        let rules = RotationRules(byClass: [1: RotationRule(maximumDegrees: 0)])
        #expect(throws: AMAFError.self) {
            try GreyRotation.draw(Self.image, width: 20, height: 20, rule: rules.rule(1), generator: &generator)
        }
        #expect(throws: AMAFError.self) { try RotationRule(maximumDegrees: .nan).validate() }
    }
}

@Suite struct SyntheticSampleTests {
    @Test func blocksSurviveTheirBytes() throws {
        let block = SyntheticBlock(
            classes: 2, pixels: 3,
            samples: [
                SyntheticSample(method: .interpolation, parents: [4, 7], label: [0.25, 0.75], image: [1, 2, 255]),
                SyntheticSample(method: .prior, parents: [], label: [1, 0], image: [0, 0, 9]),
            ])
        let bytes = block.encode()
        #expect(try SyntheticBlock(decoding: bytes) == block)
        for cut in bytes.indices { #expect(throws: AMAFError.self) { try SyntheticBlock(decoding: Array(bytes[..<cut])) } }
        #expect(block.samples[0].top == 1 && SyntheticSample.inherited([[1, 0], [0.5, 0.5]]) == [0.75, 0.25])
    }
    @Test func classesAreFilledUpButNotBeyondTheirQuota() {
        let allotment = SynthesisAllotment.balancing([500, 20, 0, 499], methods: [.interpolation, .rotation], maximumRatio: 10)
        #expect(
            allotment.shares == [
                .init(label: 1, method: .interpolation, count: 100), .init(label: 1, method: .rotation, count: 100),
                .init(label: 3, method: .interpolation, count: 1),
            ])
        #expect(allotment.count == 201)
        #expect(allotment.item(99).method == .interpolation && allotment.item(100).method == .rotation && allotment.item(200).label == 3)
    }
}
