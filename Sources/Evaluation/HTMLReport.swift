/// `report.html`: one file without scripts or external resources, for screen (light and dark) and paper.
struct HTMLReport {
    var report: RunReport

    func render() -> String {
        let document = ReportComposer(report: report).compose()
        // The policy keeps the page from fetching or running anything even if some text slipped through the escaping.
        var page = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(HTMLText.escape(document.title))</title>
            <style>
            \(HTMLStyle.sheet)
            </style>
            </head>
            <body>
            <main>
            <header>
            <h1>\(HTMLText.escape(document.title))</h1>
            <p class="subtitle">\(HTMLText.escape(document.subtitle))</p>
            </header>

            """
        var numbering = Numbering()
        for block in document.blocks { page += render(block, &numbering) }
        return page + "</main>\n</body>\n</html>\n"
    }

    private struct Numbering {
        var table = 0
        var figure = 0
    }

    private func render(_ block: ReportDocument.Block, _ numbering: inout Numbering) -> String {
        switch block {
        case .heading(let text): return "<h2>\(HTMLText.escape(text))</h2>\n"
        case .paragraph(let text): return "<p>\(HTMLText.escape(text))</p>\n"
        case .notice(let kind, let text):
            return "<p class=\"notice \(kind.rawValue)\" role=\"note\"><strong>\(kind.title).</strong> \(HTMLText.escape(text))</p>\n"
        case .tiles(let tiles):
            let items = tiles.map {
                "<div class=\"tile\"><dt>\(HTMLText.escape($0.label))</dt><dd class=\"figure-value\">\(HTMLText.escape($0.value))</dd><dd class=\"tile-note\">\(HTMLText.escape($0.note))</dd></div>\n"
            }
            return "<dl class=\"tiles\">\n\(items.joined())</dl>\n"
        case .table(let table):
            numbering.table += 1
            return Self.table(table, number: numbering.table)
        case .figure(let figure):
            numbering.figure += 1
            return Self.figure(figure, number: numbering.figure)
        case .collapsed(let summary, let blocks):
            let inner = blocks.map { render($0, &numbering) }.joined()
            return "<details>\n<summary>\(HTMLText.escape(summary))</summary>\n\(inner)</details>\n"
        }
    }

    static func table(_ table: ReportDocument.Table, number: Int) -> String {
        func style(_ column: Int) -> String { table.columns[column].alignment == .right ? " class=\"n\"" : "" }
        var html =
            "<div class=\"scroll\"><table>\n<caption><b>Table \(number).</b> \(HTMLText.escape(table.caption))</caption>\n<thead><tr>"
        for (i, column) in table.columns.enumerated() { html += "<th scope=\"col\"\(style(i))>\(HTMLText.escape(column.title))</th>" }
        html += "</tr></thead>\n<tbody>\n"
        for row in table.rows {
            html += "<tr>"
            for (i, cell) in row.enumerated() { html += "<td\(style(i))>\(HTMLText.escape(cell))</td>" }
            html += "</tr>\n"
        }
        return html + "</tbody>\n</table></div>\n"
    }

    private static func figure(_ figure: ReportDocument.Figure, number: Int) -> String {
        let (picture, caption): (String, String) =
            switch figure {
            case .curve(let chart):
                (
                    legend(chart) + chart.svg(),
                    chart.title + ". Line: mean over seeds; band: lowest to highest seed; dashed: random control."
                )
            case .reliability(let chart):
                (
                    chart.svg(),
                    "Reliability on \(chart.measuredOn): accuracy against confidence per bin (left; the diagonal is perfect calibration) and samples per bin (right)."
                )
            case .stages(let chart): (chart.svg(), "Wall time per stage over all arms, seeds and rounds.")
            }
        return "<figure>\n\(picture)<figcaption><b>Figure \(number).</b> \(HTMLText.escape(caption))</figcaption>\n</figure>\n"
    }

    private static func legend(_ chart: BudgetChart) -> String {
        let items = chart.series.map {
            "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line x1=\"0\" y1=\"5\" x2=\"28\" y2=\"5\" class=\"curve c\($0.colour)\($0.isControl ? " control" : "")\"/></svg>\(HTMLText.escape($0.title))</li>"
        }
        return "<ul class=\"legend\">\(items.joined())</ul>\n"
    }
}
