package import Primitives

/// One observation of a radiology report: mentioned, denied or in doubt, in the manner of the CheXpert labeler (Irvin et al. 2019) with
/// word windows in the manner of NegEx (Chapman et al. 2001) in place of a parser. All phrases are data.
package struct ReportRule: Hashable, Sendable, Codable {
    /// Voted where the observation is there…
    package var className: String
    /// …and where it is denied; nil abstains.
    package var absentClass: String?
    package var uncertain: Uncertain
    package var phrases: ReportPhrases

    package enum Uncertain: String, Hashable, Sendable, Codable, CaseIterable { case present, absent, abstain }

    package init(className: String, absentClass: String? = nil, uncertain: Uncertain = .abstain, phrases: ReportPhrases) {
        self.className = className
        self.absentClass = absentClass
        self.uncertain = uncertain
        self.phrases = phrases
    }
}

/// Phrases are words with blanks between them; a word that ends in `*` stands for all that begin so, and `...` for up to five words.
package struct ReportPhrases: Hashable, Sendable, Codable {
    package var mentions: [String]
    /// Around a mention: it means something else there.
    package var exclusions: [String]
    /// Say by themselves that the observation is absent: `heart ... normal in size`.
    package var absences: [String]
    package var negationsBefore: [String]
    package var negationsAfter: [String]
    /// Look like negations and are none: `no change in`.
    package var pseudoNegations: [String]
    package var doubtsBefore: [String]
    package var doubtsAfter: [String]
    /// Doubts that hold although a negation stands in them: `cannot exclude`.
    package var firstDoubts: [String]
    /// Words at which a clause ends: `but`.
    package var clauseEnds: [String]

    package init(
        mentions: [String], exclusions: [String] = [], absences: [String] = [], negationsBefore: [String] = [],
        negationsAfter: [String] = [],
        pseudoNegations: [String] = [], doubtsBefore: [String] = [], doubtsAfter: [String] = [], firstDoubts: [String] = [],
        clauseEnds: [String] = []
    ) {
        self.mentions = mentions
        self.exclusions = exclusions
        self.absences = absences
        self.negationsBefore = negationsBefore
        self.negationsAfter = negationsAfter
        self.pseudoNegations = pseudoNegations
        self.doubtsBefore = doubtsBefore
        self.doubtsAfter = doubtsAfter
        self.firstDoubts = firstDoubts
        self.clauseEnds = clauseEnds
    }

    private static let observationRoles: Set<String> = ["mention", "exclusion", "absence"]
    private static let commonRoles: Set<String> = [
        "negation-before", "negation-after", "pseudo-negation", "doubt-before", "doubt-after", "first-doubt", "clause-end",
    ]

    /// The phrases of one observation from a table `observation,role,phrase`; phrases for all observations stand under `*`.
    ///
    /// - Throws: `labeling-function.bad-phrases` with the line.
    package init(csv: String, place: String, observation: String) throws(AMAFError) {
        self.init(mentions: [])
        for (line, fields) in try CSVText.rows(csv, place: place).dropFirst() {
            guard fields.count == 3, !fields[2].isEmpty else {
                throw AMAFError(
                    "labeling-function.bad-phrases", "The row has \(fields.count) fields where observation, role and phrase are needed",
                    place: "\(place):\(line)", remedy: "Write 'observation,role,phrase'.")
            }
            let isCommon = fields[0] == "*"
            guard (isCommon ? Self.commonRoles : Self.observationRoles).contains(fields[1]) else {
                throw AMAFError(
                    "labeling-function.bad-phrases", "'\(fields[1])' is no role of \(isCommon ? "common" : "an observation's") phrases",
                    place: "\(place):\(line)",
                    remedy: "Roles are \((isCommon ? Self.commonRoles : Self.observationRoles).sorted().joined(separator: ", ")).")
            }
            guard isCommon || fields[0] == observation else { continue }
            switch fields[1] {
            case "mention": mentions.append(fields[2])
            case "exclusion": exclusions.append(fields[2])
            case "absence": absences.append(fields[2])
            case "negation-before": negationsBefore.append(fields[2])
            case "negation-after": negationsAfter.append(fields[2])
            case "pseudo-negation": pseudoNegations.append(fields[2])
            case "doubt-before": doubtsBefore.append(fields[2])
            case "doubt-after": doubtsAfter.append(fields[2])
            case "first-doubt": firstDoubts.append(fields[2])
            default: clauseEnds.append(fields[2])
            }
        }
        guard !mentions.isEmpty else {
            throw AMAFError(
                "labeling-function.bad-phrases", "No phrase mentions '\(observation)'", place: place,
                remedy: "Name an observation of the table under 'observation'.")
        }
    }
}
