package import WeakSupervision

/// A file of `configs/labeling-functions/`: the functions with the place of each, so that later errors can name it.
package struct LabelingFunctionFile: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package var spec: LabelingFunctionSpec
        /// `file:line:column` of its first key.
        package var place: String

        package init(spec: LabelingFunctionSpec, place: String) {
            self.spec = spec
            self.place = place
        }
    }
    package var path: String
    package var entries: [Entry]
    /// How many labelled examples the rule that wrote this file looked at; they count in the human budget.
    package var goldExamplesUsed: Int

    package init(path: String, entries: [Entry], goldExamplesUsed: Int = 0) {
        self.path = path
        self.entries = entries
        self.goldExamplesUsed = goldExamplesUsed
    }

    package var specs: [LabelingFunctionSpec] { entries.map(\.spec) }
}
