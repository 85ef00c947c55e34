import Evaluation
import Foundation
import Primitives
import Testing

@Suite struct NumberTextTests {
    @Test func numbersReadAlikeEverywhere() {
        #expect(NumberText.fixed(1234.5, decimals: 2) == "1,234.50")
        #expect(NumberText.fixed(0.285, decimals: 2) == "0.29")
        #expect(NumberText.fixed(-0.004, decimals: 2) == "0.00")
        #expect(NumberText.fixed(-1.5, decimals: 0) == "−2")
        #expect(NumberText.fixed(9.999, decimals: 2) == "10.00")
        #expect(NumberText.fixed(0.05, decimals: 3) == "0.050")
        #expect(NumberText.fixed(nil, decimals: 1) == "–")
        #expect(NumberText.fixed(.nan, decimals: 1) == "–")
        #expect(NumberText.integer(1_234_567) == "1,234,567" && NumberText.integer(-999) == "−999" && NumberText.integer(0) == "0")
        #expect(NumberText.percent(0.9635) == "96.35 %")
        #expect(NumberText.points(0.0512) == "+5.12" && NumberText.points(-0.01) == "−1.00" && NumberText.points(0.00001) == "0.00")
        #expect(NumberText.pValue(0.00001) == "< 0.0001" && NumberText.pValue(0.0312) == "0.0312")
        #expect(NumberText.duration(0.125) == "0.13 s" && NumberText.duration(78.4) == "78.4 s")
        #expect(NumberText.duration(245) == "4 min 05 s" && NumberText.duration(7320) == "2 h 02 min")
        #expect(NumberText.shortest(5.76) == "5.76" && NumberText.shortest(4) == "4" && NumberText.shortest(100) == "100")
        #expect(NumberText.mebibytes(500 << 20) == "500 MiB")
    }
}

@Suite struct SummaryTests {
    private func arm(_ id: String, control: String?, _ runs: [(UInt64, [(Int, Double)])]) -> RunReport.Arm {
        RunReport.Arm(
            id: id, title: id, acquisition: id, reviewer: .simulated(errorRate: 0, secondsPerItem: 4), control: control,
            runs: runs.map { seed, points in
                RunReport.ArmRun(
                    seed: seed,
                    points: points.enumerated().map { round, point in
                        RunReport.BudgetPoint(
                            round: round, answersUsed: point.0, fraction: Double(point.0) / 1000, accuracy: point.1, unseenAccuracy: nil,
                            unseenCount: 1000 - point.0)
                    })
            })
    }

    private func empty() -> RunReport {
        RunReport(
            header: .init(run: RunID("r"), title: "t", pipeline: "p.yaml", wallSeconds: 1),
            dataset: .init(name: "d", samples: 1000, classes: 2, hasGold: true), seeds: [1, 2],
            environment: .init(numericsClass: NumericsClass("test"), versions: []))
    }

    @Test func checkpointsNeverOverspend() throws {
        var report = empty()
        report.checkpointFractions = [0.13, 0.2]
        report.arms = [
            arm(
                "margin", control: "random",
                [(1, [(50, 0.6), (130, 0.8), (131, 0.9), (200, 0.95)]), (2, [(50, 0.6), (130, 0.82), (200, 0.93)])]),
            // Seeds in another order, and one that the arm does not have: pairing is by seed.
            arm("random", control: nil, [(3, [(10, 0.1)]), (2, [(130, 0.7), (190, 0.85)]), (1, [(130, 0.72), (190, 0.87)])]),
        ]
        report.summarise()
        let early = try #require(report.checkpoints.first { $0.arm == "margin" && $0.fraction == 0.13 })
        #expect(early.answersUsed == 130, "131 answers are over 13 % of 1000")
        #expect(abs((early.accuracy?.mean ?? 0) - 0.81) < 1e-12)
        #expect(report.comparisons.count == 2)
        let late = try #require(report.comparisons.last)
        #expect(late.fraction == 0.2 && late.difference.count == 2)
        #expect(abs(late.difference.mean - 0.08) < 1e-12)
        #expect(late.zeroVariance && late.p == 0 && late.t == nil)
        let first = try #require(report.comparisons.first)
        // d = .08, .12: t = .1 / (.0282843/√2) = 5, one degree of freedom, p = 2 (½ − atan(5)/π) = 0.125666; Holm over two rows doubles it,
        // the other being 0.
        #expect(abs((first.t ?? 0) - 5) < 1e-9 && abs((first.p ?? 0) - 0.1256659) < 1e-6)
        #expect(abs((first.holmP ?? 0) - 0.1256659) < 1e-6 && late.holmP == 0)
    }

    @Test func aBudgetOfTwentyPercentIsExact() {
        // 0.13 · 15,000 is 1949.9999… in binary.
        let run = RunReport.ArmRun(
            seed: 1,
            points: [.init(round: 0, answersUsed: 1950, fraction: 0.13, accuracy: 0.9, unseenAccuracy: nil, unseenCount: 0)])
        #expect(RunReport.point(run, within: 0.13, of: 15_000)?.answersUsed == 1950)
        #expect(RunReport.point(run, within: 0.12, of: 15_000) == nil)
    }

    @Test func gatesNeedAMeasurement() {
        #expect(RunReport.Gate("a", .atLeast, 0.9, measured: 0.9, unit: .fraction).passes)
        #expect(!RunReport.Gate("a", .atLeast, 0.9, measured: nil, unit: .fraction).passes)
        #expect(!RunReport.Gate("a", .atMost, 500, measured: 501, unit: .mebibytes).passes)
    }

    @Test func confusionNamesTheWorst() {
        var counts = ConfusionCounts(classCount: 3)
        counts.add(gold: [0, 0, 1, 1, 1, 2], predicted: [0, 0, 0, 0, nil, 2])
        let confusion = RunReport.Confusion(counts, classNames: ["a", "b", "c"], worst: 2)
        #expect(confusion.classes.map(\.name) == ["b", "a"])
        #expect(confusion.pairs.map(\.predicted) == ["a", "(no label)"] && confusion.pairs.map(\.count) == [2, 1])
    }
}

@Suite struct RenderingTests {
    @Test func theReportSurvivesJSON() throws {
        let report = SampleReport.make()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let data = try encoder.encode(report)
        #expect(try JSONDecoder().decode(RunReport.self, from: data) == report)
        #expect(try encoder.encode(SampleReport.make()) == data)
    }

    @Test func renderingIsDeterministic() {
        #expect(SampleReport.make().html() == SampleReport.make().html())
        #expect(SampleReport.make().markdown() == SampleReport.make().markdown())
    }

    /// A small report whose every line is known.
    @Test func markdownOfASmallReport() {
        var report = RunReport(
            header: .init(run: RunID("r-1"), title: "Two classes", pipeline: "p.yaml", wallSeconds: 2.5),
            dataset: .init(name: "toy", samples: 100, classes: 2, hasGold: true), seeds: [1],
            environment: .init(numericsClass: NumericsClass("test"), versions: [.init("amaf", "1")]))
        report.checkpointFractions = [0.2]
        report.arms = ["margin", "random"].map { id in
            RunReport.Arm(
                id: id, title: id, acquisition: id, reviewer: .simulated(errorRate: 0.05, secondsPerItem: 4),
                control: id == "margin" ? "random" : nil,
                runs: [
                    .init(
                        seed: 1,
                        points: [
                            .init(
                                round: 0, answersUsed: 20, fraction: 0.2, accuracy: id == "margin" ? 0.9 : 0.85, unseenAccuracy: 0.875,
                                unseenCount: 80)
                        ])
                ])
        }
        report.ledger = .init(
            entries: [.init(purpose: "review answers", answers: 20, seconds: 80)], secondsPerItem: 4, samples: 100, isSimulated: true)
        report.summarise()
        let text = report.markdown()
        let expected = [
            "# Two classes",
            "Data set toy, 100 samples, 2 classes · run r-1",
            "> **Simulated reviewer.** No person answered in this run. Every review answer comes from a simulation (simulated reviewer, error rate 5.0 %, 4 s per item), and all human hours and costs below are simulated too.",
            "- **Label accuracy: 90.00 %** (one seed · margin, 20 % human answers)",
            "- **On samples no person saw: 87.50 %** (one seed)",
            "- **Above random: +5.00** (one seed, no test)",
            "- **Human answers (simulated): 20** (20.0 % of the samples, 0.0 h instead of 0.1 h)",
            "- **Wall time: 2.50 s** (all arms, 1 seed)",
            "| Budget | Arm | Answers | All samples | Samples no person saw |",
            "|---:|:---|---:|---:|---:|",
            "| 20 % | margin | 20 | 90.00 % | 87.50 % |",
            "| Budget | Arm | Control | Difference |",
            "| 20 % | margin | random | +5.00 |",
            "| labelling every sample instead | 100 | 0.1 h | – |",
            "| amaf | 1 |",
        ]
        var rest = Substring(text)
        for line in expected {
            let found = rest.range(of: line + "\n")
            #expect(found != nil, "missing or out of order: \(line)\n\(text)")
            if let found { rest = rest[found.upperBound...] }
        }
    }

    @Test func textCannotBecomeMarkup() {
        var report = SampleReport.make(seeds: [1])
        let attack = "<script>alert('x')</script>\"&<img src=x onerror=y>\u{202E}gpj\u{0}"
        report.header.title = attack
        report.dataset.name = attack
        report.dataset.quarantined = [.init(place: attack, code: attack, reason: attack)]
        report.arms[0].title = attack
        report.labelingFunctions?.rows[0].name = attack
        report.confusion?.classes[0].name = attack
        report.stages[0].name = attack
        report.warnings = [attack]
        report.environment.versions = [.init(attack, attack)]
        let html = report.html()
        #expect(!html.contains("<script") && !html.contains("<img") && !html.contains("\u{202E}") && !html.contains("\u{0}"))
        #expect(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;&lt;img src=x onerror=y&gt;\u{FFFD}gpj\u{FFFD}"))
        let markdown = report.markdown()
        #expect(!markdown.contains("<script") && !markdown.contains("<img") && !markdown.contains("\u{202E}"))
        report.stages[0].name = "a|b`c*d\ne"
        #expect(report.markdown().contains("| a\\|b\\`c\\*d e |"))
    }

    @Test func thePageIsWellFormedAndSelfContained() throws {
        let html = SampleReport.make().html()
        for outside in ["http://", "https://", "src=", "href=", "@import", "url(", "<script"] {
            #expect(!html.contains(outside), "\(outside)")
        }
        // Everything after the doctype must nest: an XML parser reads it once the void elements are closed.
        var xml = html.replacing("<!DOCTYPE html>\n", with: "")
        xml = xml.replacing(/<meta ([^>]*)>/) { "<meta \($0.output.1)/>" }
        let parser = XMLCheck()
        #expect(parser.accepts(xml), "\(parser.problem)")
        #expect(html.contains("prefers-color-scheme: dark"))
        #expect(html.components(separatedBy: "<svg viewBox=\"0 0 9").count == 5, "two curves, reliability, stages")
    }

    @Test func simulationIsNamedEverywhere() {
        let html = SampleReport.make().html()
        #expect(html.contains("No person answered in this run"))
        #expect(html.contains("Human effort (simulated)") && html.contains("human work (simulated)"))
        #expect(html.components(separatedBy: "<td>simulated reviewer, error rate ").count == 5, "each of four arms")
    }

    @Test func withoutGoldNothingIsCalledAccuracy() {
        var report = SampleReport.make(hasGold: false)
        report.labelingFunctions = nil
        report.labelModel = nil
        report.aggregation = nil
        report.calibration = nil
        let text = report.markdown()
        #expect(text.contains("- **Estimated agreement with reviewers: 94.3 %** (95 % interval 91.1 to 96.4 %)"))
        #expect(text.contains("no accuracy can be given"))
        #expect(!text.contains("Label accuracy:"))
        #expect(!report.html().contains("Label accuracy over all samples"))
    }

    /// With AMAF_REPORT_SAMPLE set to a folder, leaves the sample reports there to be looked at.
    @Test func samplesForTheEye() throws {
        guard let folder = ProcessInfo.processInfo.environment["AMAF_REPORT_SAMPLE"] else { return }
        for (name, report) in [
            ("five-seeds", SampleReport.make()), ("one-seed", SampleReport.make(seeds: [1])),
            ("no-gold", SampleReport.make(hasGold: false)),
        ] {
            try report.html().write(toFile: "\(folder)/\(name).html", atomically: true, encoding: .utf8)
            try report.markdown().write(toFile: "\(folder)/\(name).md", atomically: true, encoding: .utf8)
        }
    }
}

/// A minimal checker of nesting, written for the tests only: tags must close in order and attributes be quoted.
private final class XMLCheck {
    var problem = ""

    func accepts(_ text: String) -> Bool {
        var open: [Substring] = []
        var rest = Substring(text)
        while let start = rest.firstIndex(of: "<") {
            guard let end = rest[start...].firstIndex(of: ">") else { return fail("unclosed tag at the end") }
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            let name = tag.drop { $0 == "/" }.prefix { $0 != " " && $0 != "/" }
            guard name.allSatisfy({ $0.isLetter || $0.isNumber }), !name.isEmpty else { return fail("odd tag <\(tag)>") }
            guard tag.count(where: { $0 == "\"" }) % 2 == 0 else { return fail("odd quotes in <\(tag)>") }
            if tag.hasPrefix("/") {
                guard open.popLast() == name else { return fail("</\(name)> closes something else") }
            } else if !tag.hasSuffix("/") {
                open.append(name)
            }
        }
        return open.isEmpty ? true : fail("never closed: \(open)")
    }

    private func fail(_ text: String) -> Bool {
        problem = text
        return false
    }
}
