package import Datasets
package import Primitives

/// Labeling functions compiled for one list of classes, ready to vote on samples from any thread.
///
/// All terms of all functions share one automaton (two where some function minds case), so a text is read once however many
/// keyword functions there are; patterns of regex functions run one after the other.
package struct LabelingFunctionSet: Sendable {
    package let specs: [LabelingFunctionSpec]
    package let ids: [FunctionID]
    package let classNames: [String]

    private let folded: AhoCorasick?
    private let foldedTerms: [Int]
    private let exact: AhoCorasick?
    private let exactTerms: [Int]
    private let terms: [TermRules.Term]
    private let termClasses: [Int16]
    private let termWeights: [Double]
    private let decisions: [TermRules.Decision?]
    private let regexes: [(function: Int, classIndex: Int16, program: RegexProgram)]
    /// Functions that have one faster way: keywords that decide by any single hit.
    private let votesOnAnyHit: [Int16]
    /// Functions that read more than the text or run elsewhere, by position in `ids`.
    private let others: [(function: Int, body: any LabelingFunction)]

    /// Compiles and checks everything; nothing can fail later but a match on a text.
    ///
    /// - Parameters:
    ///   - functions: written in Swift; their columns follow those of the specs.
    ///   - context: what this machine lends; by default what the environment says.
    /// - Throws: `labeling-function.*` with the function's name as place; `labeling-function.exec-not-allowed` where a function
    ///   starts a program and the context does not allow it.
    package init(
        specs: [LabelingFunctionSpec], classNames: [String], functions: [any LabelingFunction] = [],
        context: LabelingContext = .ofEnvironment
    ) throws(AMAFError) {
        guard !classNames.isEmpty, classNames.count <= VoteCode.maximumClassCount else {
            throw AMAFError(
                "labeling-function.class-count", "Labeling functions cannot vote among \(classNames.count) classes",
                remedy: "Give between 1 and \(VoteCode.maximumClassCount) classes.")
        }
        var classIndices: [String: Int16] = [:]
        for (index, name) in classNames.enumerated() {
            guard classIndices.updateValue(Int16(index), forKey: name) == nil else {
                throw AMAFError("labeling-function.duplicate-class", "The class '\(name)' is listed twice", remedy: "List each class once.")
            }
        }
        var seen: Set<String> = []
        var rules = TermRules()
        var decisions: [TermRules.Decision?] = []
        var regexes: [(function: Int, classIndex: Int16, program: RegexProgram)] = []
        var votesOnAnyHit: [Int16] = []
        var others: [(function: Int, body: any LabelingFunction)] = []
        var modules: [FileReference: SnorkelModule] = [:]
        for (function, spec) in specs.enumerated() {
            guard !spec.name.isEmpty, seen.insert(spec.name).inserted else {
                throw AMAFError(
                    "labeling-function.duplicate-name",
                    spec.name.isEmpty
                        ? "Labeling function \(function + 1) has no name" : "Two labeling functions are called '\(spec.name)'",
                    place: spec.name, remedy: "Give each labeling function a name of its own.")
            }
            func classIndex(_ name: String) throws(AMAFError) -> Int16 {
                if let index = classIndices[name] { return index }
                throw AMAFError(
                    "labeling-function.unknown-class", "The labeling function '\(spec.name)' votes for '\(name)', which is no class",
                    place: spec.name, remedy: Self.suggestion(for: name, among: classNames))
            }
            var anyHit: Int16 = -1
            switch spec.kind {
            case .keywords(let rule):
                let index = try classIndex(rule.className)
                decisions.append(try rules.add(rule, function: function, name: spec.name, classIndex: index))
                let lowest = rule.weights?.min() ?? 1
                if rule.except.isEmpty, lowest >= rule.threshold, lowest >= 0 { anyHit = index }
            case .regex(let rule):
                regexes.append((function, try classIndex(rule.className), try RegexProgram(rule, functionName: spec.name)))
                decisions.append(nil)
            case .classNameOverlap(let rule):
                decisions.append(try rules.add(rule, function: function, name: spec.name, classNames: classNames))
            case .keywordScores(let rule):
                decisions.append(try rules.add(rule, function: function, name: spec.name, classIndex: classIndex))
            case .dictionary(let rule):
                decisions.append(try rules.add(rule, function: function, name: spec.name, classIndex: classIndex))
            default:
                decisions.append(nil)
                others.append((function, try Self.body(of: spec, classNames, classIndex, context, &modules)))
            }
            votesOnAnyHit.append(anyHit)
        }
        for body in functions {
            guard !body.id.name.isEmpty, seen.insert(body.id.name).inserted else {
                throw AMAFError(
                    "labeling-function.duplicate-name", "Two labeling functions are called '\(body.id.name)'", place: body.id.name,
                    remedy: "Give each labeling function a name of its own.")
            }
            others.append((decisions.count, body))
            decisions.append(nil)
            votesOnAnyHit.append(-1)
        }
        self.others = others
        self.specs = specs
        ids = specs.map(\.id) + functions.map(\.id)
        self.classNames = classNames
        folded = rules.foldedPatterns.isEmpty ? nil : AhoCorasick(rules.foldedPatterns, foldsCase: true)
        foldedTerms = rules.foldedTerms
        exact = rules.exactPatterns.isEmpty ? nil : AhoCorasick(rules.exactPatterns, foldsCase: false)
        exactTerms = rules.exactTerms
        terms = rules.terms
        termClasses = rules.classes
        termWeights = rules.weights
        self.decisions = decisions
        self.regexes = regexes
        self.votesOnAnyHit = votesOnAnyHit
    }

    private static func suggestion(for name: String, among classNames: [String]) -> String {
        let wanted = TermRules.words(of: name)
        let alike = classNames.first { TermRules.words(of: $0) == wanted }
        if let alike { return "Did you mean '\(alike)'?" }
        return "The classes are \(classNames.prefix(8).joined(separator: ", "))\(classNames.count > 8 ? ", …" : "")."
    }

    /// The votes of all functions on consecutive samples.
    ///
    /// - Parameters:
    ///   - samples: at most 65,536; nil, a quarantined sample, makes every function abstain.
    ///   - firstSample: position of `samples[0]` in the data set.
    package func apply(samples: [Sample?], firstSample: Int = 0) -> VoteBlock {
        var block = apply(texts: samples.map { $0?.text }, firstSample: firstSample, others: false)
        for (function, body) in others {
            let answers: LabelingAnswers
            switch body {
            case let body as VectorFunction: answers = body.answers(on: samples, firstSample: firstSample)
            case let body as ModelPredictionFunction: answers = body.answers(on: samples, firstSample: firstSample)
            default: answers = body.answers(on: samples)
            }
            block.columns[function] = answers.column(ids[function], firstSample: firstSample)
        }
        return block
    }

    /// The votes of all functions on consecutive texts that have no other fields.
    ///
    /// - Parameters:
    ///   - texts: at most 65,536; nil, a quarantined sample, makes every function abstain.
    ///   - firstSample: position of `texts[0]` in the data set.
    package func apply(texts: [String?], firstSample: Int = 0) -> VoteBlock {
        guard others.isEmpty else { return apply(samples: texts.map { $0.map { Sample(id: "", text: $0) } }, firstSample: firstSample) }
        return apply(texts: texts, firstSample: firstSample, others: false)
    }

    /// - Parameter others: tells the two entries apart; the columns of `others` are left empty here.
    private func apply(texts: [String?], firstSample: Int, others _: Bool) -> VoteBlock {
        precondition(texts.count <= PackedVotes.maximumRowCount, "\(texts.count) texts in one block")
        var run = Run(functions: ids.count, terms: terms.count, classes: classNames.count)
        let scratch = regexes.isEmpty ? nil : RegexScratch()
        for (row, text) in texts.enumerated() {
            guard let text else { continue }
            let done: Void? = text.utf8.withContiguousStorageIfAvailable { vote(on: $0, row: row, &run, scratch) }
            if done == nil { Array(text.utf8).withUnsafeBufferPointer { vote(on: $0, row: row, &run, scratch) } }
        }
        let columns = ids.indices.map { function in
            VoteColumn(
                function: ids[function],
                votes: PackedVotes(rowCount: texts.count, rows: run.rows[function], votes: run.votes[function]),
                faults: run.faults[function].map { fault in
                    FaultSummary(count: fault.count, firstSample: firstSample + fault.row, firstError: fault.error)
                })
        }
        return VoteBlock(firstSample: firstSample, rowCount: texts.count, classCount: classNames.count, columns: columns)
    }

    // MARK: One text

    /// What one call of `apply` writes. Marks hold the row that wrote them, so nothing is cleared between rows.
    private struct Run {
        var rows: [[UInt16]]
        var votes: [[Int16]]
        var faults: [(count: Int, row: Int, error: AMAFError)?]
        var termRow: [Int32]
        var functionRow: [Int32]
        var touched: [Int] = []
        var score: [Double]
        var isVetoed: [Bool]
        var longest: [Int]
        var longestClass: [Int16]
        /// Scores by class of functions that may vote for any class, and which classes were scored.
        var classScore: [Int: [Double]] = [:]
        var scored: [[Int16]]
        let classes: Int

        init(functions: Int, terms: Int, classes: Int) {
            rows = Array(repeating: [], count: functions)
            votes = Array(repeating: [], count: functions)
            faults = Array(repeating: nil, count: functions)
            termRow = Array(repeating: -1, count: terms)
            functionRow = Array(repeating: -1, count: functions)
            score = Array(repeating: 0, count: functions)
            isVetoed = Array(repeating: false, count: functions)
            longest = Array(repeating: 0, count: functions)
            longestClass = Array(repeating: -1, count: functions)
            scored = Array(repeating: [], count: functions)
            self.classes = classes
        }
    }

    @inline(__always)
    private func vote(on text: UnsafeBufferPointer<UInt8>, row: Int, _ run: inout Run, _ scratch: RegexScratch?) {
        folded?.scan(text) { pattern, _ in hit(term: foldedTerms[pattern], row: row, &run) }
        exact?.scan(text) { pattern, _ in hit(term: exactTerms[pattern], row: row, &run) }
        if !run.touched.isEmpty { decide(row: row, &run) }
        if let scratch {
            let isASCII = Self.isASCII(text)
            for (function, classIndex, program) in regexes {
                scratch.setLimits(of: program)
                switch program.isFound(in: text, isASCII: isASCII, scratch: scratch) {
                case .success(false): break
                case .success(true):
                    run.rows[function].append(UInt16(row))
                    run.votes[function].append(classIndex)
                case .failure(let error):
                    run.rows[function].append(UInt16(row))
                    run.votes[function].append(VoteCode.fault)
                    run.faults[function] = run.faults[function].map { ($0.count + 1, $0.row, $0.error) } ?? (1, row, error)
                }
            }
        }
    }

    @inline(__always)
    private static func isASCII(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        var or: UInt8 = 0
        for byte in text { or |= byte }
        return or < 128
    }

    private func hit(term: Int, row: Int, _ run: inout Run) {
        guard run.termRow[term] != Int32(row) else { return }
        run.termRow[term] = Int32(row)
        let function = terms[term].function
        if run.functionRow[function] != Int32(row) {
            run.functionRow[function] = Int32(row)
            run.touched.append(function)
            run.score[function] = 0
            run.isVetoed[function] = false
            run.longest[function] = 0
        }
        if votesOnAnyHit[function] >= 0 { return }
        if terms[term].isVeto {
            run.isVetoed[function] = true
            return
        }
        guard let decision = decisions[function] else { preconditionFailure("function \(function) has terms but does not decide by them") }
        let entries = terms[term].entries
        switch decision {
        case .single: run.score[function] += termWeights[entries.lowerBound]
        case .longest:
            let length = terms[term].length
            if length > run.longest[function] {
                run.longest[function] = length
                run.longestClass[function] = termClasses[entries.lowerBound]
            } else if length == run.longest[function], run.longestClass[function] != termClasses[entries.lowerBound] {
                run.longestClass[function] = -1
            }
        case .best:
            for entry in entries {
                let index = termClasses[entry]
                if !run.scored[function].contains(index) { run.scored[function].append(index) }
                run.classScore[function, default: Array(repeating: 0, count: run.classes)][Int(index)] += termWeights[entry]
            }
        }
    }

    private func decide(row: Int, _ run: inout Run) {
        for function in run.touched {
            var vote: Int16 = -1
            if votesOnAnyHit[function] >= 0 {
                vote = votesOnAnyHit[function]
            } else if let decision = decisions[function] {
                switch decision {
                case .single(let classIndex, let threshold):
                    if !run.isVetoed[function], run.score[function] >= threshold { vote = classIndex }
                case .longest: vote = run.longestClass[function]
                case .best(let threshold, let margin): vote = best(function, threshold, margin, &run)
                }
            }
            if vote >= 0 {
                run.rows[function].append(UInt16(row))
                run.votes[function].append(vote)
            }
        }
        run.touched.removeAll(keepingCapacity: true)
    }

    private func best(_ function: Int, _ threshold: Double, _ margin: Double, _ run: inout Run) -> Int16 {
        var first: (index: Int16, score: Double) = (-1, -.infinity)
        var second = 0.0
        for index in run.scored[function] {
            let score = run.classScore[function]?[Int(index)] ?? 0
            run.classScore[function]?[Int(index)] = 0
            if score > first.score {
                second = max(second, first.score)
                first = (index, score)
            } else {
                second = max(second, score)
            }
        }
        run.scored[function].removeAll(keepingCapacity: true)
        return first.score >= threshold && first.score > 0 && first.score - second >= margin ? first.index : -1
    }
}
