import Foundation
import Primitives
import WeakSupervision

/// `auto` on the shared vote matrices, by the protocol of docs/LABEL-MODELS.md.
enum SharedSets {
    struct Result {
        var auto: LabelModelScore
        var majority: LabelModelScore
        var evidence: LabelModelEvidence
        var seconds: Double
    }

    /// - Parameter name: `youtube`, `sms`, `trec`, or `sms-repaired` for the votes applied again.
    static func auto(_ name: String) throws -> Result? {
        let set = name == "sms-repaired" ? "sms" : name
        guard let train = try SharedData.wrench(set, "train"), var valid = try SharedData.wrench(set, "valid"),
            var test = try SharedData.wrench(set, "test")
        else { return nil }
        if name == "sms-repaired" {
            for (split, rows) in [("valid", valid), ("test", test)] {
                guard let csv = SharedData.bytes("weak-supervision/wrench-sms/votes_reapplied_\(split).csv") else { return nil }
                var copy = rows
                for i in copy.indices { copy[i].weak_labels = Array(repeating: -1, count: 73) }
                for line in String(decoding: csv, as: UTF8.self).split(separator: "\n").dropFirst() {
                    let fields = line.split(separator: ",").compactMap { Int($0) }
                    copy[fields[0]].weak_labels[fields[1]] = fields[2]
                }
                if split == "valid" { valid = copy } else { test = copy }
            }
        }
        let k = set == "trec" ? 6 : 2
        let m = train[0].weak_labels.count
        let ids = (0..<m).map { Sketch.id("lf\($0)") }
        func rows(_ rows: [SharedData.WrenchRow], first: Int) -> VoteRows {
            VoteRows(
                firstSample: first, rowCount: rows.count, classCount: k,
                columns: (0..<m).map { j in PackedVotes(cells: rows.map { Int16($0.weak_labels[j]) }) })
        }
        let offset = train.count
        let gold = { (sample: Int) -> Int? in sample >= offset && sample < offset + valid.count ? valid[sample - offset].label : nil }
        let blocks = [rows(train, first: 0), rows(valid, first: offset)].map { FitBlock($0) }
        let clock = ContinuousClock()
        let start = clock.now
        let fit = LabelModelFit(blocks, classCount: k, functions: ids, gold: gold)
        let (model, evidence) = try LabelModelSelection.choose(fit)
        let seconds = start.duration(to: clock.now).seconds
        let majority = try fit.fit(LabelModelOptions(kind: .majority))
        let tested = rows(test, first: 0)
        func score(_ model: FittedLabelModel) -> LabelModelScore {
            LabelModelScore([model.posteriors(of: tested)], balance: model.classBalance) { test[$0].label }
        }
        return Result(auto: score(model), majority: score(majority), evidence: evidence, seconds: seconds)
    }

    /// Crowd sets: no gold is used to fit or to choose.
    static func crowd(_ name: String) throws -> (scores: [(String, Double)], evidence: LabelModelEvidence)? {
        guard let root = SharedData.root, FileManager.default.fileExists(atPath: "\(root)/weak-supervision/crowd/\(name)/label.csv") else {
            return nil
        }
        let folder = "\(root)/weak-supervision/crowd/\(name)"
        let votes = try ImportedLabelMatrix.read("\(folder)/label.csv")
        let fit = LabelModelFit(votes.matrix)
        let gold = try LabelModelCommand.readGold(
            "\(folder)/truth.csv", items: votes.sampleNames, classNames: votes.classNames, count: votes.matrix.sampleCount)
        func accuracy(_ model: FittedLabelModel) -> Double {
            LabelModelScore(fit.blocks.map { model.posteriors(of: $0) }, balance: model.classBalance) { gold[$0] }.covered.accuracy
        }
        let (auto, evidence) = try LabelModelSelection.choose(fit)
        var scores = [("auto", accuracy(auto))]
        for kind in [LabelModelKind.majority, .logLinear, .oneCoin, .dawidSkene, .damped, .pooled, .subtypes, .subtypesPooled] {
            scores.append((kind.rawValue, accuracy(try fit.fit(LabelModelOptions(kind: kind)))))
        }
        return (scores, evidence)
    }
}
