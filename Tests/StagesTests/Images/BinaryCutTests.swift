import Stages
import Testing

@Suite struct BinaryCutTests {
    @Test func cutsBetweenTheClasses() throws {
        let scored = [(0.1, false), (0.3, false), (0.4, true), (0.7, false), (0.8, true), (0.9, true)].map { (p: $0.0, isSecond: $0.1) }
        // Above 0.3: all positives, two of three negatives. Above 0.7: two of three positives, all negatives. Both 5/6; the middle of two.
        let cut = try #require(BinaryCut(scored))
        #expect(abs(cut.threshold - 0.75) < 1e-9)
        let (right, f1) = BinaryCut.judged(scored, at: cut.threshold)
        #expect(right == 5 && f1 == 0.8)
        #expect(BinaryCut([(0.2, true), (0.3, true)]) == nil)
    }

    /// A classifier that says one thing of all cannot be cut.
    @Test func tiesStayTogether() throws {
        let cut = try #require(BinaryCut([(0.5, true), (0.5, false), (0.5, true)]))
        #expect(cut.threshold == 0.25 || cut.threshold == 0.75)
        #expect(BinaryCut.judged([(0.5, true), (0.5, false)], at: 0.4).right == 1)
    }
}
