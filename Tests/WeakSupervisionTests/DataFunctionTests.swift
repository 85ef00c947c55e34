import Datasets
import Foundation
import Primitives
import Testing
import WeakSupervision

/// A folder of its own that goes away with the test.
final class Scratch {
    let path = FileManager.default.temporaryDirectory.appending(path: "amaf-\(UUID().uuidString)").path
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
        return "\(path)/\(name)"
    }

    /// Rows × columns float32 as `numpy.save` writes them.
    func writeArray(_ name: String, _ rows: [[Float]]) throws -> String {
        var writer = try NumPyWriter(path: "\(path)/\(name)", shape: [rows.count, rows[0].count], type: "<f4", itemSize: 4, entry: nil)
        for row in rows { try writer.append(array: row) }
        try writer.finish()
        return "\(path)/\(name)"
    }
}

/// Functions over numbers, recordings, vectors and predictions.
@Suite struct DataFunctionTests {
    static let classes = ["cold", "warm", "hot"]

    func block(_ specs: [LabelingFunctionSpec], _ samples: [Sample?]) throws -> VoteBlock {
        try LabelingFunctionSet(specs: specs, classNames: Self.classes).apply(samples: samples, firstSample: 100)
    }
    func votes(_ kind: LabelingFunctionSpec.Kind, _ samples: [Sample?]) throws -> [Int16] {
        try block([LabelingFunctionSpec(name: "f", kind: kind)], samples).columns[0].votes.cells
    }
    func sample(_ id: String = "s", _ fields: (String, String)...) -> Sample {
        Sample(id: id, text: "x", metadata: fields.map { MetadataEntry($0.0, $0.1, isJSON: true) })
    }

    @Test func thresholdsReadNumbersAndTellFaultsFromAbsence() throws {
        let rule = ThresholdRule(className: "hot", field: "t", bounds: NumberBounds(atLeast: 30))
        let samples = [
            sample("a", ("t", "30")), sample("b", ("t", "29.9")), sample("c"), sample("d", ("t", "null")), sample("e", ("t", "wet")), nil,
        ]
        #expect(try votes(.threshold(rule), samples) == [2, -1, -1, -1, VoteCode.fault, -1])
        let column = try block([LabelingFunctionSpec(name: "f", kind: .threshold(rule))], samples).columns[0]
        #expect(column.faults?.firstSample == 104 && column.faults?.firstError.code == "labeling-function.not-a-number")
        let between = ThresholdRule(className: "warm", field: "t", bounds: NumberBounds(atLeast: 10, atMost: 20))
        #expect(try votes(.threshold(between), ["10", "20", "20.1"].map { sample("x", ("t", $0)) }) == [1, 1, -1])
    }

    @Test func windowsOfRecordings() throws {
        let series = SensorSeries(reference: "r", channels: ["x", "y"], values: [0, 1, 0, 2, 10, 3, 10, 4, 0, 5, 0, 6])
        let one = Sample(id: "s", text: "", sensor: series)
        func rule(_ statistic: WindowStatistic, _ channel: String, window: Int? = nil, count: Int = 1, least: Double)
            -> LabelingFunctionSpec.Kind
        {
            .sensorThreshold(
                SensorThresholdRule(
                    className: "hot", channel: channel, statistic: statistic, window: window, stride: 1, minimumWindows: count,
                    bounds: NumberBounds(atLeast: least)))
        }
        // x = 0 0 10 10 0 0; the window [2, 4) alone has the mean 10.
        #expect(try votes(rule(.mean, "x", window: 2, least: 10), [one]) == [2])
        #expect(try votes(rule(.mean, "x", window: 2, count: 2, least: 10), [one]) == [-1])
        #expect(try votes(rule(.mean, "x", least: 4), [one]) == [-1])
        // y = 1 … 6 climbs by one a step; its standard deviation is √(35/12), its root mean square √(91/6).
        #expect(try votes(rule(.slope, "y", least: 0.999), [one]) == [2] && votes(rule(.slope, "y", least: 1.001), [one]) == [-1])
        for (statistic, value) in [
            (WindowStatistic.standardDeviation, (35.0 / 12).squareRoot()), (.rootMeanSquare, (91.0 / 6).squareRoot()), (.range, 5),
            (.minimum, 1),
            (.maximum, 6), (.largestStep, 1),
        ] {
            #expect(try votes(rule(statistic, "y", least: value - 1e-6), [one]) == [2], "\(statistic)")
            #expect(try votes(rule(statistic, "y", least: value + 1e-6), [one]) == [-1], "\(statistic)")
        }
        // Shorter than a window: no opinion. A channel that is not there: a fault. No recording: no opinion.
        #expect(try votes(rule(.mean, "x", window: 7, least: 0), [one]) == [-1])
        #expect(try votes(rule(.mean, "z", least: 0), [one, sample()]) == [VoteCode.fault, -1])
        let list = SensorThresholdRule(className: "hot", field: "v", statistic: .maximum, bounds: NumberBounds(atMost: 3))
        #expect(
            try votes(.sensorThreshold(list), [sample("a", ("v", "[1, 2.5]")), sample("b", ("v", "[4]")), sample("c", ("v", "7"))])
                == [2, -1, VoteCode.fault])
    }

    @Test func vectorsVoteForTheNearest() throws {
        let scratch = try Scratch()
        let features = FileReference(
            path: try scratch.writeArray("f.npy", Array(repeating: [0, 0], count: 100) + [[1, 0], [0, 2], [1, 1], [-1, 0]]))
        let prototypes = [
            PrototypesRule.Prototype(className: "cold", vector: [1, 0]), .init(className: "hot", vector: [0, 1]),
        ]
        let samples: [Sample?] = (0..<5).map { sample("\($0)") }
        let nearest = LabelingFunctionSpec(
            name: "f", kind: .prototypes(PrototypesRule(features: features, prototypes: prototypes, threshold: 0.5, minimumMargin: 0.1)))
        let column = try block([nearest], samples).columns[0]
        // The third lies between both, the fourth far from both, the fifth has no row.
        #expect(column.votes.cells == [0, 2, -1, -1, VoteCode.fault])
        #expect(column.scores?.prefix(2) == [1, 1])
        let references = FileReference(path: try scratch.writeArray("r.npy", [[1, 0], [0.9, 0.1], [0, 1], [0, 3], [0.1, 1]]))
        let labels = ["cold", "cold", "hot", "hot", "hot"]
        let neighbours = NeighboursRule(features: features, references: references, labels: labels, neighbours: 3, minimumShare: 0.6)
        #expect(try votes(.neighbours(neighbours), samples).prefix(2) == [0, 2])
        var unanimous = neighbours
        unanimous.minimumShare = 1
        #expect(try votes(.neighbours(unanimous), samples).prefix(2) == [-1, 2])
        var short = neighbours
        short.labels.removeLast()
        #expect(throws: AMAFError.self) { try votes(.neighbours(short), samples) }
    }

    @Test func predictionsVoteWhenSure() throws {
        let scratch = try Scratch()
        let rows: [[Float]] = Array(repeating: [1, 0, 0], count: 100) + [[0.1, 0.2, 0.7], [0.4, 0.35, 0.25], [0.5, 0.5, 0], [2, 0, 0]]
        let array = FileReference(path: try scratch.writeArray("p.npy", rows))
        let samples: [Sample?] = (0..<4).map { sample("\($0)") }
        #expect(
            try votes(.modelPrediction(ModelPredictionRule(predictions: array)), samples) == [2, 0, -1, VoteCode.fault],
            "a tie is no opinion")
        #expect(
            try votes(.modelPrediction(ModelPredictionRule(predictions: array, threshold: 0.5)), samples) == [2, -1, -1, VoteCode.fault])
        #expect(
            try votes(.modelPrediction(ModelPredictionRule(predictions: array, classNames: ["hot", "warm", "cold"])), samples).first == 0)
        let csv = FileReference(path: try scratch.write("p.csv", "id,class,probability\n0,warm,0.9\n2,cold,0.4\n2,hot,0.6\n"))
        let column = try block([LabelingFunctionSpec(name: "f", kind: .modelPrediction(ModelPredictionRule(predictions: csv)))], samples)
            .columns[0]
        #expect(column.votes.cells == [1, -1, 2, -1] && column.scores == [0.9, 0.6])
        #expect(
            try VoteBlock(
                decoding: block([LabelingFunctionSpec(name: "f", kind: .modelPrediction(ModelPredictionRule(predictions: csv)))], samples)
                    .encoded()
            ).columns[0] == column)
        let bad = FileReference(path: try scratch.write("bad.csv", "id,class,probability\n0,warm,1.5\n"))
        let error = #expect(throws: AMAFError.self) { try votes(.modelPrediction(ModelPredictionRule(predictions: bad)), samples) }
        #expect(error?.place.hasSuffix("bad.csv:2") == true)
    }

    @Test func identityIsContentNotPlace() throws {
        let scratch = try Scratch()
        func spec(_ file: String) throws -> LabelingFunctionSpec {
            var spec = LabelingFunctionSpec(name: "f", kind: .modelPrediction(ModelPredictionRule(predictions: FileReference(path: file))))
            try spec.resolveFiles(against: scratch.path)
            return spec
        }
        try scratch.write("a.csv", "0,warm,0.9\n")
        try scratch.write("b.csv", "0,warm,0.9\n")
        try scratch.write("c.csv", "0,warm,0.8\n")
        #expect(try spec("a.csv").digest == spec("b.csv").digest)
        #expect(try spec("a.csv").digest != spec("c.csv").digest)
        let defined = try spec("a.csv")
        try scratch.write("a.csv", "0,hot,0.9\n")
        let error = #expect(throws: AMAFError.self) { try LabelingFunctionSet(specs: [defined], classNames: Self.classes) }
        #expect(error?.code == "labeling-function.changed-file")
        #expect(throws: AMAFError.self) { try spec("nothing.csv") }
    }

    @Test func writtenFormOfAllKinds() throws {
        let all = [
            #"{"name": "a", "kind": "threshold", "class": "hot", "field": "t", "at-least": 3}"#,
            #"{"name": "b", "kind": "sensor-threshold", "class": "hot", "channel": "x", "statistic": "slope", "window": 4, "at-most": 3}"#,
            #"{"name": "c", "kind": "prototypes", "features": "f.npy", "prototypes": [{"class": "hot", "vector": [1, 2]}], "metric": "euclidean"}"#,
            #"{"name": "d", "kind": "neighbours", "features": "f.npy", "references": "r.npy", "labels": ["hot"], "neighbours": 1}"#,
            #"{"name": "e", "kind": "model-prediction", "predictions": "p.csv", "threshold": 0.5}"#,
            #"{"name": "f", "kind": "command", "command": ["./f"], "files": ["f"], "silent-seconds": 2, "memory-mib": 100}"#,
            #"{"name": "g", "kind": "snorkel", "module": "m.py", "function": "lf_a", "classes": ["cold", "hot"]}"#,
        ]
        let specs = try all.map { try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data($0.utf8)) }
        #expect(try JSONDecoder().decode([LabelingFunctionSpec].self, from: JSONEncoder().encode(specs)) == specs)
        #expect(Set(specs.map(\.digest)).count == specs.count)
        #expect(specs.map(\.needsExec) == [false, false, false, false, false, true, true])
        for bad in [
            #"{"name": "a", "kind": "threshold", "class": "hot", "field": "t"}"#,
            #"{"name": "a", "kind": "threshold", "class": "hot", "field": "t", "at-least": 3, "at-most": 2}"#,
            #"{"name": "b", "kind": "sensor-threshold", "class": "hot", "at-most": 3}"#,
            #"{"name": "f", "kind": "command", "command": []}"#, #"{"name": "f", "kind": "command", "command": ["x"], "memory-mib": 1}"#,
        ] {
            #expect(throws: DecodingError.self, "\(bad)") { try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data(bad.utf8)) }
        }
        do {
            _ = try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data(#"{"name": "a", "kind": "clip-zero-shot"}"#.utf8))
            Issue.record("a kind of a later version was read")
        } catch DecodingError.dataCorrupted(let context) {
            #expect(context.debugDescription.contains("not in this version"))
        }
    }

    /// A function written in Swift, beside the others.
    struct LongText: LabelingFunction {
        let id = FunctionID(name: "long", digest: Digest.of(Array("long-text/1".utf8)))
        func answers(on samples: [Sample?]) -> LabelingAnswers {
            var out = LabelingAnswers(rowCount: samples.count, classCount: 3)
            for (row, sample) in samples.enumerated() {
                guard let sample else { continue }
                switch sample.text.utf8.count {
                case 10...: out.vote(row, 2)
                case 5...: out.vote(row, 7)
                default: break
                }
            }
            return out
        }
    }

    @Test func functionsInSwift() throws {
        let words = LabelingFunctionSpec(name: "words", kind: .keywords(KeywordRule(className: "cold", terms: ["ice"])))
        let set = try LabelingFunctionSet(specs: [words], classNames: Self.classes, functions: [LongText()])
        let block = set.apply(texts: ["ice", "a long, long text", "abcdef", nil])
        #expect(block.columns.map(\.function.name) == ["words", "long"])
        #expect(block.columns[0].votes.cells == [0, -1, -1, -1])
        // Class 7 of 3 is a fault, not a vote and not a trap.
        #expect(block.columns[1].votes.cells == [-1, 2, VoteCode.fault, -1])
        #expect(block.columns[1].faults?.firstError.code == "labeling-function.unknown-class")
    }
}
