/// Accuracy against confidence per bin, before and after calibration; a calibrated model lies on the diagonal.
struct ReliabilityChart {
    var before: [RunReport.Calibration.Bin]
    var after: [RunReport.Calibration.Bin]
    /// Which samples the bins hold.
    var measuredOn: String

    func svg() -> String {
        var canvas = SVGCanvas(width: 960, height: 400)
        let x = ChartScale(domain: 0...1, pixels: (64, 384))
        let y = ChartScale(domain: 0...1, pixels: (340, 20))
        for tick in stride(from: 0.0, through: 1.001, by: 0.2) {
            canvas.line(64, y(tick), 384, y(tick), "grid")
            canvas.text(NumberText.fixed(tick, decimals: 1), 56, y(tick) + 4, "tick", anchor: "end")
            canvas.line(x(tick), 340, x(tick), 345, "axis")
            canvas.text(NumberText.fixed(tick, decimals: 1), x(tick), 360, "tick", anchor: "middle")
        }
        canvas.line(64, 340, 384, 340, "axis")
        canvas.line(x(0), y(0), x(1), y(1), "guide")
        canvas.text("confidence", 224, 384, "axis-title", anchor: "middle")
        canvas.text("accuracy", 18, 180, "axis-title", anchor: "middle", rotated: true)
        draw(before, on: &canvas, x, y, colour: "c1", control: " control")
        draw(after, on: &canvas, x, y, colour: "c0", control: "")

        // Beside it: how many samples each bin holds.
        let most = Double((before + after).map(\.count).max() ?? 1)
        let count = ChartScale(domain: 0...max(most, 1), pixels: (340, 20))
        let place = ChartScale(domain: 0...1, pixels: (500, 820))
        for tick in count.ticks(about: 5) {
            canvas.line(500, count(tick), 820, count(tick), "grid")
            canvas.text(NumberText.integer(Int(tick)), 492, count(tick) + 4, "tick", anchor: "end")
        }
        for (bins, style, shift) in [(before, "bar c1", 0.0), (after, "bar c0", 0.5)] {
            for bin in bins {
                let width = place(bin.high) - place(bin.low)
                let left = place(bin.low) + width * (0.06 + 0.88 * shift)
                canvas.rectangle(left, count(Double(bin.count)), width * 0.42, 340 - count(Double(bin.count)), style)
            }
        }
        for tick in stride(from: 0.0, through: 1.001, by: 0.2) {
            canvas.text(NumberText.fixed(tick, decimals: 1), place(tick), 360, "tick", anchor: "middle")
        }
        canvas.line(500, 340, 820, 340, "axis")
        canvas.text("confidence", 660, 384, "axis-title", anchor: "middle")
        canvas.text("samples", 446, 180, "axis-title", anchor: "middle", rotated: true)
        canvas.line(846, 40, 872, 40, "curve c1 control")
        canvas.text("before", 880, 44, "label c1")
        canvas.line(846, 64, 872, 64, "curve c0")
        canvas.text("after", 880, 68, "label c0")
        return canvas.render(label: "Reliability diagram: accuracy against confidence before and after calibration, and samples per bin")
    }

    private func draw(
        _ bins: [RunReport.Calibration.Bin], on canvas: inout SVGCanvas, _ x: ChartScale, _ y: ChartScale, colour: String, control: String
    ) {
        canvas.polyline(bins.map { (x($0.confidence), y($0.accuracy)) }, "curve \(colour)\(control)")
        for bin in bins {
            let tip =
                "confidence \(NumberText.percent(bin.confidence, decimals: 1)), accuracy \(NumberText.percent(bin.accuracy, decimals: 1)), \(NumberText.integer(bin.count)) samples"
            canvas.circle(x(bin.confidence), y(bin.accuracy), radius: 3.6, "dot \(colour)\(control)", title: tip)
        }
    }

    func table() -> ReportDocument.Table {
        ReportDocument.Table(
            "Reliability after calibration.",
            [("Confidence bin", .left), ("Samples", .right), ("Mean confidence", .right), ("Accuracy", .right)],
            after.map {
                [
                    "\(NumberText.fixed($0.low, decimals: 2)) to \(NumberText.fixed($0.high, decimals: 2))", NumberText.integer($0.count),
                    NumberText.percent($0.confidence, decimals: 1), NumberText.percent($0.accuracy, decimals: 1),
                ]
            })
    }
}

/// Wall time of each stage as a bar, in pipeline order.
struct StageChart {
    var stages: [RunReport.Stage]

    func svg() -> String {
        let row = 26.0
        var canvas = SVGCanvas(width: 960, height: Double(stages.count) * row + 40)
        let longest = max(stages.map(\.wallSeconds).max() ?? 0, 1e-9)
        let x = ChartScale(domain: 0...longest, pixels: (210, 720))
        let bottom = Double(stages.count) * row + 8
        for tick in x.ticks(about: 5) {
            canvas.line(x(tick), 4, x(tick), bottom, "grid")
            canvas.text(NumberText.shortest(tick) + " s", x(tick), bottom + 18, "tick", anchor: "middle")
        }
        for (i, stage) in stages.enumerated() {
            let y = Double(i) * row + 8
            canvas.text(BudgetChart.shortened(stage.name, limit: 26), 202, y + 14, "stage", anchor: "end")
            canvas.rectangle(210, y + 3, max(1, x(stage.wallSeconds) - 210), 15, "bar c0")
            var text = NumberText.duration(stage.wallSeconds)
            if let speed = stage.rowsPerSecond { text += " · \(NumberText.fixed(speed, decimals: 0)) rows/s" }
            canvas.text(text, x(stage.wallSeconds) + 8, y + 15, "value")
        }
        canvas.line(210, 4, 210, bottom, "axis")
        return canvas.render(
            label: "Wall time per stage: " + stages.map { "\($0.name) \(NumberText.duration($0.wallSeconds))" }.joined(separator: ", "))
    }
}
