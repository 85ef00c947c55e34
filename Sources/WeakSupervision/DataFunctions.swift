internal import Datasets
internal import Foundation
internal import Primitives

/// Votes by a number of the sample.
struct ThresholdFunction: LabelingFunction {
    let id: FunctionID
    let rule: ThresholdRule
    let classIndex: Int
    let classCount: Int

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: classCount)
        for (row, sample) in samples.enumerated() {
            if let image = sample?.image?.thumbnail, let value = ImageStatistics.value(rule.field, of: image) {
                if rule.bounds.contains(value) { out.vote(row, classIndex) }
                continue
            }
            guard let text = sample?.metadata(rule.field), !text.isEmpty, text != "null" else { continue }
            guard let value = Double(text), value.isFinite else {
                out.fault(row, Self.notANumber(text, field: rule.field))
                continue
            }
            if rule.bounds.contains(value) { out.vote(row, classIndex) }
        }
        return out
    }

    static func notANumber(_ text: String, field: String) -> AMAFError {
        AMAFError(
            "labeling-function.not-a-number", "The field '\(field)' holds '\(text.prefix(40))', which is no number",
            remedy: "Correct the value, or leave the field out where nothing was measured.")
    }
}

/// Votes by windows of a recording.
struct SensorThresholdFunction: LabelingFunction {
    let id: FunctionID
    let rule: SensorThresholdRule
    let classIndex: Int
    let classCount: Int

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: classCount)
        for (row, sample) in samples.enumerated() {
            guard let sample else { continue }
            let series: [Double]
            if let field = rule.field {
                guard let text = sample.metadata(field), !text.isEmpty, text != "null" else { continue }
                guard let values = try? JSONDecoder().decode([Double].self, from: Data(text.utf8)) else {
                    out.fault(row, ThresholdFunction.notANumber(text, field: field))
                    continue
                }
                series = values
            } else if let sensor = sample.sensor, !sensor.channels.isEmpty {
                guard let channel = sensor.channels.firstIndex(of: rule.channel ?? "") else {
                    out.fault(
                        row,
                        AMAFError(
                            "labeling-function.no-channel",
                            "The recording has no channel '\(rule.channel ?? "")'; it has \(sensor.channels.joined(separator: ", "))",
                            remedy: "Name one of its channels."))
                    continue
                }
                series = stride(from: channel, to: sensor.values.count, by: sensor.channels.count).map { Double(sensor.values[$0]) }
            } else if let sensor = sample.sensor, !sensor.reference.isEmpty {
                out.fault(
                    row,
                    AMAFError(
                        "labeling-function.no-recording", "The recording '\(sensor.reference)' was not read",
                        remedy: "Use 'amaf lf apply --sensor FIELD', or put the numbers into a field and name it with 'field'."))
                continue
            } else {
                continue
            }
            if Self.windows(of: series, rule).filter(rule.bounds.contains).count >= rule.minimumWindows { out.vote(row, classIndex) }
        }
        return out
    }

    /// The statistic of every window; none where the recording is shorter than one.
    static func windows(of series: [Double], _ rule: SensorThresholdRule) -> [Double] {
        let length = rule.window ?? series.count
        guard length > 0, series.count >= length else { return [] }
        let step = rule.stride ?? max(1, length / 2)
        return stride(from: 0, through: series.count - length, by: step).map { statistic(rule.statistic, series[$0..<$0 + length]) }
    }

    static func statistic(_ statistic: WindowStatistic, _ x: ArraySlice<Double>) -> Double {
        let n = Double(x.count)
        let mean = x.reduce(0, +) / n
        switch statistic {
        case .mean: return mean
        case .minimum: return x.min() ?? 0
        case .maximum: return x.max() ?? 0
        case .range: return (x.max() ?? 0) - (x.min() ?? 0)
        case .standardDeviation: return (x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n).squareRoot()
        case .rootMeanSquare: return (x.reduce(0) { $0 + $1 * $1 } / n).squareRoot()
        case .largestStep: return zip(x, x.dropFirst()).reduce(0) { max($0, abs($1.1 - $1.0)) }
        case .slope:
            let middle = (n - 1) / 2
            var above = 0.0
            var below = 0.0
            for (t, value) in x.enumerated() {
                above += (Double(t) - middle) * (value - mean)
                below += (Double(t) - middle) * (Double(t) - middle)
            }
            return below > 0 ? above / below : 0
        }
    }
}

/// Rows of a float matrix, looked up by a sample's position.
struct FeatureRows: Sendable {
    let columns: Int
    let rows: Int
    private let values: [Float]

    init(_ file: FileReference) throws(AMAFError) {
        let array = try NumPyArray(npy: try file.load(), place: file.path)
        guard array.shape.count == 2, array.shape[1] > 0 else {
            throw AMAFError(
                "labeling-function.bad-features", "The array has the shape \(array.shape), where rows and columns are needed",
                place: file.path, remedy: "Save samples × features with numpy.save.")
        }
        rows = array.shape[0]
        columns = array.shape[1]
        values = array.floats
    }

    init(_ vectors: [[Double]]) {
        columns = vectors.first?.count ?? 0
        rows = vectors.count
        values = vectors.flatMap { $0.map(Float.init) }
    }

    func row(_ index: Int) -> ArraySlice<Float> { values[index * columns..<(index + 1) * columns] }

    /// Similarity of row i here to row j there; larger is nearer.
    func similarity(_ i: Int, _ other: FeatureRows, _ j: Int, _ metric: VectorMetric) -> Double {
        var dot = 0.0
        var a = 0.0
        var b = 0.0
        for (x, y) in zip(row(i), other.row(j)) {
            let (x, y) = (Double(x), Double(y))
            switch metric {
            case .cosine:
                dot += x * y
                a += x * x
                b += y * y
            case .euclidean: dot += (x - y) * (x - y)
            }
        }
        switch metric {
        case .cosine: return a > 0 && b > 0 ? dot / (a * b).squareRoot() : 0
        case .euclidean: return -dot.squareRoot()
        }
    }

    func outOfRange(_ position: Int, _ file: FileReference) -> AMAFError {
        AMAFError(
            "labeling-function.no-features", "The sample at position \(position) has no row among \(rows)", place: file.path,
            remedy: "Make the features from the same data, one row a sample.")
    }
}

/// Votes by vectors: nearest prototype, or most of the nearest references.
struct VectorFunction: LabelingFunction {
    let id: FunctionID
    let features: FeatureRows
    let file: FileReference
    let references: FeatureRows
    let metric: VectorMetric
    let vote: NearestVote

    func answers(on samples: [Sample?]) -> LabelingAnswers { answers(on: samples, firstSample: 0) }

    func answers(on samples: [Sample?], firstSample: Int) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: vote.classCount)
        for (row, sample) in samples.enumerated() where sample != nil {
            let position = firstSample + row
            guard position < features.rows else {
                out.fault(row, features.outOfRange(position, file))
                continue
            }
            let near = (0..<references.rows).map { features.similarity(position, references, $0, metric) }
            if let (label, score) = vote(near) { out.vote(row, label, score: Float(score)) }
        }
        return out
    }
}

/// Votes with another model's predictions.
struct ModelPredictionFunction: LabelingFunction {
    let id: FunctionID
    let rule: ModelPredictionRule
    let classCount: Int
    /// By position: the array's rows.
    private let rows: FeatureRows?
    /// By id, from CSV: class and probability, likeliest first.
    private let byID: [String: [(classIndex: Int, probability: Float)]]
    private let columns: [Int]

    init(_ id: FunctionID, _ rule: ModelPredictionRule, classNames: [String], classIndex: (String) throws(AMAFError) -> Int16)
        throws(AMAFError)
    {
        self.id = id
        self.rule = rule
        classCount = classNames.count
        if rule.predictions.path.hasSuffix(".npy") {
            let rows = try FeatureRows(rule.predictions)
            let names = rule.classNames.isEmpty ? classNames : rule.classNames
            guard names.count == rows.columns else {
                throw AMAFError(
                    "labeling-function.bad-features", "The predictions have \(rows.columns) columns for \(names.count) classes",
                    place: rule.predictions.path, remedy: "List the classes of the columns under 'classes'.")
            }
            var columns: [Int] = []
            for name in names { columns.append(Int(try classIndex(name))) }
            (self.rows, self.columns, byID) = (rows, columns, [:])
        } else {
            var byID: [String: [(classIndex: Int, probability: Float)]] = [:]
            let text = String(decoding: try rule.predictions.load(), as: UTF8.self)
            for (line, fields) in try CSVText.rows(text, place: rule.predictions.path) {
                if line == 1, fields.map({ $0.lowercased() }) == ["id", "class", "probability"] { continue }
                guard fields.count == 3, let probability = Float(fields[2]), probability >= 0, probability <= 1 else {
                    throw AMAFError(
                        "labeling-function.bad-predictions", "A prediction is not id, class and a probability",
                        place: "\(rule.predictions.path):\(line)", remedy: "Write 'id,class,probability'.")
                }
                byID[fields[0], default: []].append((Int(try classIndex(fields[1])), probability))
            }
            for key in byID.keys { byID[key]?.sort { ($1.probability, $0.classIndex) < ($0.probability, $1.classIndex) } }
            (rows, columns, self.byID) = (nil, [], byID)
        }
    }

    func answers(on samples: [Sample?]) -> LabelingAnswers { answers(on: samples, firstSample: 0) }

    func answers(on samples: [Sample?], firstSample: Int) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: classCount)
        for (row, sample) in samples.enumerated() {
            guard let sample else { continue }
            var ranked: [(classIndex: Int, probability: Float)] = []
            if let rows {
                guard firstSample + row < rows.rows else {
                    out.fault(row, rows.outOfRange(firstSample + row, rule.predictions))
                    continue
                }
                ranked = zip(columns, rows.row(firstSample + row)).map { ($0, $1) }
                if let bad = ranked.first(where: { !($0.probability >= 0 && $0.probability <= 1) }) {
                    out.fault(
                        row,
                        AMAFError(
                            "labeling-function.bad-predictions", "A prediction is \(bad.probability), which is no probability",
                            place: rule.predictions.path, remedy: "Give probabilities between 0 and 1, one row a sample."))
                    continue
                }
                ranked.sort { ($1.probability, $0.classIndex) < ($0.probability, $1.classIndex) }
            } else {
                ranked = byID[sample.id] ?? []
            }
            guard let first = ranked.first, Double(first.probability) >= rule.threshold else { continue }
            let second = ranked.count > 1 ? ranked[1].probability : 0
            guard first.probability > second, Double(first.probability - second) >= rule.minimumMargin else { continue }
            out.vote(row, first.classIndex, score: first.probability)
        }
        return out
    }
}
