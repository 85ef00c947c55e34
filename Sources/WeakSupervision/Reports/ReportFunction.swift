internal import Datasets
internal import Primitives

/// Votes by what a report says of one observation.
struct ReportFunction: LabelingFunction {
    let id: FunctionID
    let reader: ReportReader
    let present: Int
    let absent: Int?
    let uncertain: ReportRule.Uncertain
    let classCount: Int

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: classCount)
        for (row, sample) in samples.enumerated() {
            guard let sample, !sample.text.isEmpty, let finding = reader.finding(in: sample.text) else { continue }
            switch finding {
            case .present: out.vote(row, present)
            case .absent: if let absent { out.vote(row, absent) }
            case .uncertain:
                switch uncertain {
                case .present: out.vote(row, present)
                case .absent: if let absent { out.vote(row, absent) }
                case .abstain: break
                }
            }
        }
        return out
    }
}
