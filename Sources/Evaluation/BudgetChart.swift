/// Accuracy against human answers: one mean line per arm with a band from the lowest to the highest seed.
struct BudgetChart {
    struct Series {
        var title: String
        var isControl: Bool
        /// Palette index; an arm keeps its colour in every chart of the report.
        var colour: Int
        var seeds: Int
        var points: [(answers: Double, mean: Double, low: Double, high: Double)]
    }
    var title: String
    var samples: Int
    var checkpoints: [Double]
    var series: [Series]

    init(title: String, report: RunReport, value: (RunReport.BudgetPoint) -> Double?) {
        self.title = title
        samples = report.dataset.samples
        checkpoints = report.checkpointFractions
        let controls = report.arms.compactMap(\.control)
        series = report.arms.enumerated().compactMap { index, arm in
            let curves = arm.runs.map { run in run.points.compactMap { point in value(point).map { (Double(point.answersUsed), $0) } } }
            let points = Self.band(curves.filter { !$0.isEmpty })
            guard !points.isEmpty else { return nil }
            return Series(title: arm.title, isControl: controls.contains(arm.id), colour: index % 6, seeds: arm.runs.count, points: points)
        }
    }

    var isDrawable: Bool { !series.isEmpty }

    /// Mean, minimum and maximum of several curves wherever one has a point and all are defined, by linear interpolation.
    static func band(_ curves: [[(Double, Double)]]) -> [(answers: Double, mean: Double, low: Double, high: Double)] {
        guard let from = curves.compactMap(\.first?.0).max(), let to = curves.compactMap(\.last?.0).min(), from <= to else { return [] }
        var xs: [Double] = []
        for x in curves.flatMap({ $0.map(\.0) }).sorted() where x >= from && x <= to && xs.last != x { xs.append(x) }
        return xs.map { x in
            let values = curves.map { interpolate($0, at: x) }
            return (x, values.reduce(0, +) / Double(values.count), values.min() ?? 0, values.max() ?? 0)
        }
    }

    private static func interpolate(_ curve: [(Double, Double)], at x: Double) -> Double {
        guard let right = curve.firstIndex(where: { $0.0 >= x }) else { return curve[curve.count - 1].1 }
        if curve[right].0 == x || right == 0 { return curve[right].1 }
        let (a, b) = (curve[right - 1], curve[right])
        return a.1 + (x - a.0) / (b.0 - a.0) * (b.1 - a.1)
    }

    func svg() -> String {
        var canvas = SVGCanvas(width: 960, height: 430)
        let all = series.flatMap(\.points)
        let right = max(all.map(\.answers).max() ?? 1, (checkpoints.max() ?? 0) * Double(samples)) * 1.02
        let lowest = all.map(\.low).min() ?? 0
        let highest = all.map(\.high).max() ?? 1
        let step = ChartScale.step(span: max(highest - lowest, 0.02), about: 6)
        let bottom = max(0, ((lowest - 0.1 * step) / step).rounded(.down) * step)
        let top = min(1, ((highest + 0.1 * step) / step).rounded(.up) * step)
        let x = ChartScale(domain: 0...right, pixels: (64, 690))
        let y = ChartScale(domain: bottom...max(top, bottom + step), pixels: (360, 46))

        for tick in y.ticks(step: step) {
            canvas.line(64, y(tick), 690, y(tick), "grid")
            canvas.text(NumberText.shortest((tick * 1e6).rounded() / 1e4) + " %", 56, y(tick) + 4, "tick", anchor: "end")
        }
        for tick in x.ticks(about: 7) {
            canvas.line(x(tick), 360, x(tick), 365, "axis")
            canvas.text(NumberText.integer(Int(tick)), x(tick), 380, "tick", anchor: "middle")
        }
        canvas.line(64, 360, 690, 360, "axis")
        canvas.text("human answers used, of \(NumberText.integer(samples)) samples", 377, 404, "axis-title", anchor: "middle")
        for fraction in checkpoints {
            let place = x(fraction * Double(samples))
            canvas.line(place, 46, place, 360, "guide")
            canvas.text(NumberText.shortest((fraction * 1e6).rounded() / 1e4) + " %", place, 38, "guide-label", anchor: "middle")
        }
        for item in series where item.seeds > 1 {
            let upper = item.points.map { (x($0.answers), y($0.high)) }
            let lower = item.points.reversed().map { (x($0.answers), y($0.low)) }
            canvas.polygon(upper + lower, "band c\(item.colour)")
        }
        for item in series {
            canvas.polyline(item.points.map { (x($0.answers), y($0.mean)) }, "curve c\(item.colour)\(item.isControl ? " control" : "")")
            for point in item.points {
                let tip = "\(item.title): \(NumberText.integer(Int(point.answers))) answers, \(NumberText.percent(point.mean))"
                canvas.circle(
                    x(point.answers), y(point.mean), radius: 2.8, "dot c\(item.colour)\(item.isControl ? " control" : "")", title: tip)
            }
        }
        // Direct labels at the ends, pushed apart so that none covers another.
        let ends = series.indices.filter { !series[$0].points.isEmpty }.map {
            (index: $0, y: y(series[$0].points[series[$0].points.count - 1].mean))
        }
        let places = Self.spread(ends.map(\.y), apart: 17, within: 50...354)
        for (end, place) in zip(ends, places) {
            let item = series[end.index]
            let last = item.points[item.points.count - 1]
            canvas.line(x(last.answers) + 4, y(last.mean), 704, place, "leader")
            canvas.text(
                "\(NumberText.fixed(last.mean * 100, decimals: 1)) %  \(Self.shortened(item.title))", 708, place + 4,
                "label c\(item.colour)")
        }
        return canvas.render(label: title + ". " + description)
    }

    /// Positions in the given order, moved as little as needed to lie `apart` from one another inside the range.
    static func spread(_ wanted: [Double], apart: Double, within range: ClosedRange<Double>) -> [Double] {
        let order = wanted.indices.sorted { (wanted[$0], $0) < (wanted[$1], $1) }
        var placed = wanted
        var previous = range.lowerBound - apart
        for index in order {
            placed[index] = max(wanted[index], previous + apart)
            previous = placed[index]
        }
        var next = range.upperBound + apart
        for index in order.reversed() {
            placed[index] = min(placed[index], next - apart)
            next = placed[index]
        }
        return placed
    }

    static func shortened(_ text: String, limit: Int = 28) -> String { text.count <= limit ? text : String(text.prefix(limit - 1)) + "…" }

    /// The end of every curve in words.
    var description: String {
        series.map { item in
            let last = item.points[item.points.count - 1]
            return "\(item.title): \(NumberText.percent(last.mean)) at \(NumberText.integer(Int(last.answers))) answers"
        }.joined(separator: "; ")
    }

    /// The curves as numbers, for Markdown.
    func table() -> ReportDocument.Table {
        var xs: [Double] = []
        for x in series.flatMap({ $0.points.map(\.answers) }).sorted() where xs.last != x { xs.append(x) }
        return ReportDocument.Table(
            "\(title): mean over seeds.", [("Answers", .right)] + series.map { ($0.title, .right) },
            xs.map { x in
                [NumberText.integer(Int(x))] + series.map { item in NumberText.percent(item.points.first { $0.answers == x }?.mean) }
            })
    }
}
