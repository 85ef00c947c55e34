/// `report.md`: tables instead of pictures, text escaped for any Markdown reader.
struct MarkdownReport {
    var report: RunReport

    func render() -> String {
        let document = ReportComposer(report: report).compose()
        return "# \(Self.escape(document.title))\n\n\(Self.escape(document.subtitle))\n" + document.blocks.map(render).joined()
    }

    private func render(_ block: ReportDocument.Block) -> String {
        switch block {
        case .heading(let text): "\n## \(Self.escape(text))\n"
        case .paragraph(let text): "\n\(Self.escape(text))\n"
        case .notice(let kind, let text): "\n> **\(kind.title).** \(Self.escape(text))\n"
        case .tiles(let tiles):
            "\n" + tiles.map { "- **\(Self.escape($0.label)): \(Self.escape($0.value))** (\(Self.escape($0.note)))\n" }.joined()
        case .table(let table): Self.table(table)
        case .figure(.curve(let chart)): Self.table(chart.table())
        case .figure(.reliability(let chart)): Self.table(chart.table())
        // The stage table that follows holds the same numbers.
        case .figure(.stages): ""
        case .collapsed(_, let blocks): blocks.map(render).joined()
        }
    }

    static func table(_ table: ReportDocument.Table) -> String {
        var text = "\n\(escape(table.caption))\n\n"
        text += "| " + table.columns.map { escape($0.title) }.joined(separator: " | ") + " |\n"
        text += "|" + table.columns.map { $0.alignment == .right ? "---:|" : ":---|" }.joined() + "\n"
        for row in table.rows { text += "| " + row.map(escape).joined(separator: " | ") + " |\n" }
        return text
    }

    /// One line in which no character means markup.
    static func escape(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n", "\t", "\r": out += " "
            case "<": out += "&lt;"
            case "&": out += "&amp;"
            case "\\", "`", "*", "_", "[", "]", "|", "#": out += "\\" + String(scalar)
            default: out.unicodeScalars.append(HTMLText.isHostile(scalar) ? "\u{FFFD}" : scalar)
            }
        }
        return out
    }
}
