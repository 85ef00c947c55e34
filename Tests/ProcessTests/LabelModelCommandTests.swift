import Foundation
import Primitives
import Testing

/// `amaf label-model fit` where votes name groups, where samples have several labels, and where reviewed samples set the confidences.
@Suite(.serialized) struct LabelModelCommandTests {
    private func write(_ lines: [String], _ name: String, _ programs: Programs) throws {
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: "\(programs.folder)/\(name)"))
    }

    private func rows(_ name: String, _ programs: Programs) throws -> [[String]] {
        try String(contentsOfFile: "\(programs.folder)/\(name)", encoding: .utf8).split(separator: "\n").dropFirst().map {
            $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
    }

    private func json(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func votesForDomainsHelpIntents() throws {
        let programs = try Programs("hierarchy")
        defer { programs.remove() }
        let domains = ["travel": ["fly", "hotel", "visa"], "bank": ["pay", "save", "loan"]]
        let intents = domains.sorted { $0.key < $1.key }.flatMap(\.value)
        var chance = SeededGenerator(seed: 8)
        var (all, leaves, gold) = (["item,source,label"], ["item,source,label"], ["item,label"])
        for item in 0..<1500 {
            let truth = intents[chance.index(below: 6)]
            let domain = domains.first { $0.value.contains(truth) }?.key ?? ""
            gold.append("i\(item),\(truth)")
            for source in 0..<2 {
                let vote = chance.uniform() < 0.55 ? truth : intents[chance.index(below: 6)]
                all.append("i\(item),intent-\(source),\(vote)")
                leaves.append("i\(item),intent-\(source),\(vote)")
            }
            all.append("i\(item),domain,\(chance.uniform() < 0.95 ? domain : domain == "bank" ? "travel" : "bank")")
        }
        try write(all, "votes.csv", programs)
        try write(leaves, "leaves.csv", programs)
        try write(gold, "gold.csv", programs)
        try write(["group,class"] + domains.flatMap { group, list in list.map { "\(group),\($0)" } }, "domains.csv", programs)
        let object = try JSONSerialization.data(withJSONObject: domains)
        try object.write(to: URL(fileURLWithPath: "\(programs.folder)/domains.json"))

        func accuracy(_ arguments: [String], _ folder: String) throws -> Double {
            let (status, output) = try programs.run("amaf", ["label-model", "fit"] + arguments + ["--out", folder])
            #expect(status == 0, "\(output)")
            let score = try programs.run("amaf", ["label-model", "score", folder, "--gold", "gold.csv", "--json"])
            return try #require((try json(score.output)["all"] as? [String: Any])?["accuracy"] as? Double)
        }
        let with = try accuracy(["votes.csv", "--hierarchy", "domains.csv"], "with")
        let without = try accuracy(["leaves.csv", "--model", "log-linear"], "without")
        #expect(with > without + 0.03, "\(with) with votes for domains, \(without) without")
        #expect(try rows("with/labels.csv", programs).allSatisfy { $0.count == 7 && (domains[$0[5]] != nil || $0[3] == "0") })
        #expect(try accuracy(["votes.csv", "--hierarchy", "domains.json"], "again") == with, "both forms of the file say the same")
        let why = try programs.run("amaf", ["label-model", "explain", "with", "--matrix", "votes.csv", "--item", "i3"])
        #expect(why.status == 0 && why.output.contains("domain"), "\(why.output)")

        for (arguments, code) in [
            (["votes.csv", "--hierarchy", "domains.csv", "--gold", "gold.csv"], "label-model.hierarchy-options"),
            (["votes.csv", "--hierarchy", "nowhere.csv"], "hierarchy.missing-file"),
            (["gold.csv", "--hierarchy", "domains.csv"], "label-matrix.bad-row"),
        ] {
            let refused = try programs.run("amaf", ["label-model", "fit"] + arguments + ["--out", "refused"])
            #expect(refused.status == 1 && refused.output.contains("[\(code)]"), "\(refused.output)")
        }
        try write(["item,source,label", "i0,a,fly", "i0,b,cooking"], "strange.csv", programs)
        let strange = try programs.run("amaf", ["label-model", "fit", "strange.csv", "--hierarchy", "domains.csv", "--out", "refused"])
        #expect(strange.output.contains("[hierarchy.unknown-class]"), "\(strange.output)")
    }

    @Test func severalLabelsAndReviewedConfidences() throws {
        let programs = try Programs("multi-label")
        defer { programs.remove() }
        var chance = SeededGenerator(seed: 12)
        let labels = ["beach", "dog", "snow"]
        var (votes, gold, reviewed) = (["item,source,label"], ["item,label"], ["item,label"])
        for item in 0..<1200 {
            let own = [0.35, 0.25, 0.3].map { chance.uniform() < $0 }
            let names = labels.indices.filter { own[$0] }.map { labels[$0] }
            for name in names.isEmpty ? ["-"] : names {
                if item < 200 { reviewed.append("i\(item),\(name)") } else { gold.append("i\(item),\(name)") }
            }
            // Two readers, and two that repeat the second: their agreement is not worth what it seems.
            func reading(_ error: Double) -> [String] {
                let said = labels.indices.filter { (chance.uniform() < error) != own[$0] }.map { labels[$0] }
                return said.isEmpty ? ["-"] : said
            }
            let (first, second) = (reading(0.1), reading(0.25))
            for (source, said) in [("a", first), ("b", second), ("c", second), ("d", second)] {
                for label in said { votes.append("i\(item),\(source),\(label)") }
            }
        }
        try write(votes, "votes.csv", programs)
        try write(gold, "gold.csv", programs)
        try write(reviewed, "reviewed.csv", programs)
        func scores(_ more: [String], _ folder: String) throws -> [(accuracy: Double, loss: Double)] {
            let fit = try programs.run(
                "amaf", ["label-model", "fit", "votes.csv", "--multi-label", "--model", "log-linear", "--out", folder] + more)
            #expect(fit.status == 0 && labels.allSatisfy { fit.output.contains($0) }, "\(fit.output)")
            let output = try programs.run("amaf", ["label-model", "score", folder, "--gold", "gold.csv", "--json"]).output
            let list = try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [[String: Any]])
            return try list.map { entry in
                let covered = try #require((entry["score"] as? [String: Any])?["covered"] as? [String: Any])
                return (try #require(covered["accuracy"] as? Double), try #require(covered["logLoss"] as? Double))
            }
        }
        let plain = try scores([], "plain")
        let calibrated = try scores(["--calibrate-with", "reviewed.csv"], "calibrated")
        for (label, (before, after)) in zip(plain, calibrated).enumerated() {
            #expect(before.accuracy > 0.7 && after.accuracy == before.accuracy, "\(labels[label]): calibration moves no label")
            #expect(after.loss < before.loss, "\(labels[label]): \(before.loss) became \(after.loss) on samples that nobody reviewed")
        }
        let table = try rows("plain/labels.csv", programs)
        #expect(table.count == 1200 && table.allSatisfy { $0.count == 7 && ["", "0", "1"].contains($0[1]) })
        let refused = try programs.run(
            "amaf", ["label-model", "fit", "votes.csv", "--multi-label", "--classes", "3", "--out", "refused"])
        #expect(refused.status == 1 && refused.output.contains("[label-model.multi-label-options]"), "\(refused.output)")
    }

    @Test func reviewedSamplesSetConfidences() throws {
        let programs = try Programs("calibrate")
        defer { programs.remove() }
        var chance = SeededGenerator(seed: 21)
        var (votes, gold, reviewed) = (["item,source,label"], ["item,label"], ["item,label"])
        for item in 0..<1000 {
            let truth = chance.uniform() < 0.5 ? "spam" : "ham"
            if item < 150 { reviewed.append("i\(item),\(truth)") } else { gold.append("i\(item),\(truth)") }
            let other = truth == "spam" ? "ham" : "spam"
            let once = chance.uniform() < 0.7 ? truth : other
            for source in 0..<5 { votes.append("i\(item),copy-\(source),\(once)") }
            votes.append("i\(item),own,\(chance.uniform() < 0.75 ? truth : other)")
        }
        try write(votes, "votes.csv", programs)
        try write(gold, "gold.csv", programs)
        try write(reviewed, "reviewed.csv", programs)
        func score(_ more: [String], _ folder: String) throws -> (accuracy: Double, loss: Double, error: Double) {
            let fit = try programs.run(
                "amaf", ["label-model", "fit", "votes.csv", "--model", "one-coin", "--out", folder] + more)
            #expect(fit.status == 0, "\(fit.output)")
            let output = try programs.run("amaf", ["label-model", "score", folder, "--gold", "gold.csv", "--json"]).output
            let all = try #require(try json(output)["all"] as? [String: Any])
            return (
                try #require(all["accuracy"] as? Double), try #require(all["logLoss"] as? Double),
                try #require(all["calibrationError"] as? Double)
            )
        }
        let (before, after) = (try score([], "plain"), try score(["--calibrate-with", "reviewed.csv"], "calibrated"))
        #expect(after.accuracy == before.accuracy && after.loss < before.loss && after.error < before.error, "\(before) \(after)")
        let map = try json(String(contentsOfFile: "\(programs.folder)/calibrated/calibration.json", encoding: .utf8))
        #expect(map["reviewed"] as? Int == 150 && (map["evidence"] as? [Any])?.count == 4)
        #expect(!FileManager.default.fileExists(atPath: "\(programs.folder)/plain/calibration.json"))
        let leaking = try programs.run(
            "amaf",
            ["label-model", "fit", "votes.csv", "--gold", "reviewed.csv", "--calibrate-with", "reviewed.csv", "--out", "refused"])
        #expect(leaking.status == 1 && leaking.output.contains("[label-model.calibration-gold]"), "\(leaking.output)")
    }
}
