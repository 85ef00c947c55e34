/// A report as a sequence of blocks, before it becomes Markdown or HTML. Both renderers see the same words and numbers.
struct ReportDocument {
    enum Block {
        case heading(String)
        case paragraph(String)
        case notice(Notice, String)
        case tiles([Tile])
        case table(Table)
        case figure(Figure)
        /// Shown on demand in HTML; in Markdown it follows like any other block.
        case collapsed(summary: String, [Block])
    }

    enum Notice: String {
        case simulation, warning
        var title: String { self == .simulation ? "Simulated reviewer" : "Note" }
    }

    struct Tile {
        var label: String
        var value: String
        var note: String
    }

    enum Alignment { case left, right }

    struct Table {
        var caption: String
        var columns: [(title: String, alignment: Alignment)]
        var rows: [[String]]

        init(_ caption: String, _ columns: [(String, Alignment)], _ rows: [[String]]) {
            self.caption = caption
            self.columns = columns.map { (title: $0.0, alignment: $0.1) }
            self.rows = rows
            for row in rows { precondition(row.count == columns.count, "a row of \(row.count) cells in '\(caption)'") }
        }

        /// Without the columns in which every cell is missing.
        func withoutEmptyColumns() -> Table {
            let kept = columns.indices.filter { column in rows.contains { $0[column] != NumberText.missing } }
            var copy = self
            copy.columns = kept.map { columns[$0] }
            copy.rows = rows.map { row in kept.map { row[$0] } }
            return copy
        }
    }

    enum Figure {
        case curve(BudgetChart)
        case reliability(ReliabilityChart)
        case stages(StageChart)
    }

    var title: String
    var subtitle: String
    var blocks: [Block] = []
}
