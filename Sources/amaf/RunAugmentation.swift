import Augmentation
import Evaluation
import Primitives
import Scheduling
import Stages
import WireProtocol

extension RunResults {
    /// What synthetic samples a run made and what they changed, from the admissions of its main arms and the twins without them.
    func addAugmentation(_ evaluations: [(RunArm, ArmEvaluation)], _ results: [StageID: StageResults], to report: inout RunReport) throws {
        guard let weight = annotation.syntheticWeight else { return }
        var order: [String] = []
        var reports: [String: [AdmissionReport]] = [:]
        var unjudged: [String: [String]] = [:]
        func note(_ method: String) { if !order.contains(method) { order.append(method) } }
        var seeds = 0
        for (arm, _) in evaluations where arm.role == .main {
            guard let judged = try document([AdmissionReport].self, "admission", of: Planner.admission(of: arm), in: results) else {
                continue
            }
            seeds += 1
            for one in judged {
                note(one.method)
                reports[one.method, default: []].append(one)
            }
            let silent = try document([String: String].self, "unjudged", of: Planner.admission(of: arm), in: results) ?? [:]
            for (method, reason) in silent.sorted(by: { $0.key < $1.key }) {
                note(method)
                unjudged[method, default: []].append(reason)
            }
        }
        func mean(_ values: [Double]) -> Double? { values.isEmpty ? nil : values.reduce(0, +) / Double(values.count) }
        let methods = order.map { method in
            let judged = reports[method] ?? []
            var reasons: [String] = []
            for reason in judged.flatMap(\.reasons) + (unjudged[method] ?? []) where !reasons.contains(reason) { reasons.append(reason) }
            return RunReport.Augmentation.Method(
                name: method, offered: judged.reduce(0) { $0 + $1.offered }, kept: judged.reduce(0) { $0 + $1.kept },
                seeds: judged.count + (unjudged[method]?.count ?? 0), admittedSeeds: judged.count { $0.isAdmitted }, reasons: reasons,
                labelConsistency: mean(judged.map(\.labelConsistency)), precision: mean(judged.map(\.neighbours.precision)),
                coverage: mean(judged.map(\.neighbours.coverage)), memorisation: mean(judged.map(\.memorisation.ratio)))
        }
        report.augmentation = .init(methods: methods, effects: effects(evaluations), weight: weight)
        if let warning = report.augmentation?.warning { report.warnings.append(warning) }
        if methods.isEmpty { report.warnings.append("No class had two answers to make synthetic samples of: there are none.") }
    }

    private func effects(_ evaluations: [(RunArm, ArmEvaluation)]) -> [RunReport.Augmentation.Effect] {
        let pairs = evaluations.filter { $0.0.role == .main }.compactMap { main in
            evaluations.first { $0.0.role == .withoutAugmentation && $0.0.seed == main.0.seed }.map { (without: $0.1, with: main.1) }
        }
        func effect(_ measure: String, higherIsBetter: Bool = true, _ value: (ArmEvaluation) -> Double?) -> RunReport.Augmentation.Effect? {
            let known = pairs.compactMap { pair in value(pair.without).flatMap { a in value(pair.with).map { (a, $0) } } }
            return .init(measure: measure, higherIsBetter: higherIsBetter, without: known.map(\.0), with: known.map(\.1))
        }
        return [
            effect("label accuracy", \.finalAccuracy), effect("label accuracy on samples no person saw", \.finalUnseenAccuracy),
            effect("test accuracy", \.testAccuracy), effect("test accuracy of the worst class", Self.worstClass),
            effect("test gap between head and tail classes", higherIsBetter: false, Self.headTailGap),
        ].compactMap { $0 }
    }

    private static func worstClass(_ evaluation: ArmEvaluation) -> Double? {
        zip(evaluation.testSupport, evaluation.testRecall).filter { $0.0 > 0 }.map(\.1).min()
    }

    /// Mean recognition of the classes with many answers minus that of those with few; nil where answers are spread evenly.
    private static func headTailGap(_ evaluation: ArmEvaluation) -> Double? {
        let answers = evaluation.answersByClass
        guard evaluation.testRecall.count == answers.count, !answers.isEmpty else { return nil }
        let total = answers.reduce(0, +)
        func mean(_ belongs: (Int) -> Bool) -> Double? {
            let recalls = answers.indices.filter { evaluation.testSupport[$0] > 0 && belongs(answers[$0]) }.map {
                evaluation.testRecall[$0]
            }
            return recalls.isEmpty ? nil : recalls.reduce(0, +) / Double(recalls.count)
        }
        guard let head = mean({ $0 * answers.count >= total }), let tail = mean({ $0 * answers.count < total }) else { return nil }
        return head - tail
    }
}
