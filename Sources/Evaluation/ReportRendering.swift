extension RunReport {
    /// `report.md`.
    package func markdown() -> String { MarkdownReport(report: self).render() }

    /// `report.html`: one file, no external resource, light and dark.
    package func html() -> String { HTMLReport(report: self).render() }
}
