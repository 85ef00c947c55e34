import ActiveLearning
import Foundation
import Primitives
import Testing

/// The whole loop on generated texts: no data outside the test.
@Suite struct TextLoopTests {
    /// Texts of 12 classes: two words of the class's six, two that neighbouring classes share, three of everybody's.
    static func corpus(_ count: Int, seed: UInt64) -> (texts: [String], gold: [Int]) {
        var generator = SeededGenerator(seed: seed)
        func word(_ stem: Int) -> String {
            var (n, letters) = (stem * 7919 + 104_729, "")
            for _ in 0..<6 {
                letters += String(UnicodeScalar(UInt8(97 + n % 26)))
                n = n / 3 + stem * 31
            }
            return letters + "\(stem % 10)"
        }
        var (texts, gold): ([String], [Int]) = ([], [])
        for _ in 0..<count {
            // Squaring makes the first classes frequent and the last ones rare.
            let u = generator.uniform()
            let label = Int(u * u * 12)
            var words = (0..<2).map { _ in word(100 + label * 6 + generator.index(below: 6)) }
            words += (0..<2).map { _ in word(300 + label / 2 * 5 + generator.index(below: 5)) }
            words += (0..<3).map { _ in word(500 + generator.index(below: 40)) }
            generator.shuffle(&words)
            texts.append(words.joined(separator: " "))
            gold.append(label)
        }
        return (texts, gold)
    }

    static func loop(blockSize: Int) throws -> TextLoop {
        let (train, test) = (Self.corpus(1200, seed: 1), Self.corpus(300, seed: 2))
        return try TextLoop(
            texts: train.texts, gold: train.gold, names: (0..<12).map { "class \($0)" }, test: test.texts, testGold: test.gold,
            settings: TextLoop.Settings(blockSize: blockSize))
    }

    @Test func blocksLeaveNoTraceAndMarginBeatsChance() throws {
        let schedule = try ReviewSchedule(budget: 120, first: 24, rounds: 4)
        func run(_ policy: any AcquisitionPolicy, blockSize: Int, seed: UInt64 = 1) throws -> TextLoop.Checkpoint {
            var loop = try Self.loop(blockSize: blockSize)
            return try #require(
                try loop.run(
                    policy: policy, coldStart: ClassNameColdStart(), schedule: schedule, report: [120], errorRate: 0, seed: seed
                ).checkpoints.last)
        }
        let (small, large) = (try run(Acquisition.margin.policy, blockSize: 64), try run(Acquisition.margin.policy, blockSize: 500))
        #expect(small.pool == large.pool && small.test == large.test && small.asked == 120)
        var (margin, random) = (0.0, 0.0)
        for seed in 1...5 as ClosedRange<UInt64> {
            margin += try run(Acquisition.margin.policy, blockSize: 256, seed: seed).pool / 5
            random += try run(Acquisition.random.policy, blockSize: 256, seed: seed).pool / 5
        }
        #expect(margin > random + 1 && margin > 85, "margin \(margin), random \(random)")
    }
}
