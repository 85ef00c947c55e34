import Augmentation
import Evaluation
import Primitives
import Testing

@Suite struct GroupAuditTests {
    /// - Parameter recall: of class 1 in each group; everything else is right nine times in ten.
    private func rows(_ recall: [String: Double], count: Int, perCluster: Int = 1, seed: UInt64) -> [GroupAudit.Row] {
        var generator = SeededGenerator(seed: seed)
        var rows: [GroupAudit.Row] = []
        for (group, recall) in recall.sorted(by: { $0.key < $1.key }) {
            for i in 0..<count {
                let gold = generator.index(below: 2)
                let isRight = generator.uniform() < (gold == 1 ? recall : 0.9)
                rows.append(
                    GroupAudit.Row(gold: gold, predicted: isRight ? gold : 1 - gold, group: group, cluster: "\(group)-\(i / perCluster)"))
            }
        }
        return rows
    }

    @Test func plantedBiasIsFoundWhereItIs() throws {
        let audit = GroupAudit(
            column: "sex", rows: rows(["F": 0.6, "M": 0.9], count: 600, perCluster: 3, seed: 3), classes: ["absent", "present"], positive: 1
        )
        let opportunity = try #require(audit.opportunityGap)
        #expect(opportunity.high == "M" && opportunity.low == "F" && opportunity.className == "present")
        #expect(abs(opportunity.value - 0.3) < 0.1 && opportunity.p < 0.01)
        let interval = try #require(opportunity.interval)
        #expect(interval.low > 0.1 && interval.contains(0.3))
        #expect(audit.worst == "F" && (audit.accuracyGap?.p ?? 1) < 0.01)
        let parity = try #require(audit.parityGap)
        #expect(parity.high == "M" && parity.truth != nil)
        #expect(abs(parity.truth ?? 1) < 0.1, "the groups truly do not differ, only what is said of them")
    }

    /// Twenty audits of groups that do not matter: gaps are above zero, and p says that they mean nothing.
    @Test func chanceIsNotCalledBias() {
        var small = 0
        for seed in 1...20 as ClosedRange<UInt64> {
            var settings = GroupAudit.Settings()
            settings.resamples = 200
            let audit = GroupAudit(
                column: "site", rows: rows(["a": 0.8, "b": 0.8, "c": 0.8], count: 80, seed: seed), classes: ["0", "1"], settings)
            let gap = audit.accuracyGap
            #expect((gap?.value ?? 0) > 0 && (gap?.chance ?? 0) > 0)
            if (gap?.p ?? 0) < 0.05 { small += 1 }
        }
        #expect(small <= 4, "\(small) of 20 were called significant at 5 %")
    }

    @Test func smallGroupsAreNamedAndNotCompared() throws {
        var all = rows(["big": 0.9, "other": 0.9], count: 100, seed: 7)
        all += (0..<5).map { GroupAudit.Row(gold: 1, predicted: 0, group: "tiny", cluster: "t\($0)") }
        // Enough samples, too few of class 1.
        all += (0..<40).map { GroupAudit.Row(gold: $0 < 4 ? 1 : 0, predicted: 0, group: "rare", cluster: "r\($0)") }
        let audit = GroupAudit(column: "site", rows: all, classes: ["0", "1"], positive: 1)
        #expect(audit.groups.map(\.name) == ["big", "other", "rare", "tiny"])
        #expect(audit.groups.map(\.isTooSmall) == [false, false, false, true])
        #expect(audit.worst != "tiny" && audit.notCompared == ["rare: 4 of '1'"])
        #expect(audit.opportunityGap.map { [$0.high, $0.low].contains("rare") } == false)
        #expect(audit.headTailGap?.high == "big, other" && audit.headTailGap?.low == "rare")
        let alone = GroupAudit(column: "x", rows: [GroupAudit.Row(gold: 0, predicted: 0, group: "a", cluster: "a")], classes: ["0", "1"])
        #expect(alone.accuracyGap == nil && alone.parityGap == nil && alone.groups.count == 1)
    }
}
