internal import Foundation
internal import Primitives

extension LabelModelCommand {
    static let calibrationFile = "calibration.json"
    /// What a fit of another kind may have left in the folder.
    static let otherFiles = ["model.json", hierarchicalFile, multiLabelFile, calibrationFile, "evidence.md"]

    /// The map of confidences from reviewed samples among those that are labelled; nil where no file is given.
    ///
    /// - Parameter known: labels that taught the model; a sample must not do both, or it would vouch for itself.
    static func calibration(
        _ path: String?, of target: ImportedLabelMatrix, classNames: [String], known: ((Int) -> Int?)?,
        posteriors: (LabelMatrix.Block) -> PosteriorBlock
    ) throws(AMAFError) -> PosteriorCalibration? {
        guard let path else { return nil }
        let reviewed = try readGold(path, items: target.sampleNames, classNames: classNames, count: target.matrix.sampleCount)
        try check(reviewed, classNames.count, path)
        if let known, let both = reviewed.indices.first(where: { reviewed[$0] != nil && known($0) != nil }) {
            throw AMAFError(
                "label-model.calibration-gold",
                "Sample \(target.sampleNames.isEmpty ? String(both) : target.sampleNames[both]) both teaches the model and calibrates it",
                place: path, remedy: "Keep the labels of --gold and of --calibrate-with apart.")
        }
        var (found, truth): ([Posterior], [Int]) = ([], [])
        for block in target.matrix.blocks where block.samples.contains(where: { reviewed[$0] != nil }) {
            let posterior = posteriors(block)
            for row in 0..<posterior.rowCount {
                guard let answer = reviewed[block.firstSample + row], posterior.isCovered(row: row) else { continue }
                found.append(posterior[row])
                truth.append(answer)
            }
        }
        guard !found.isEmpty else {
            throw AMAFError(
                "label-model.no-gold", "No reviewed label belongs to a covered sample", place: path,
                remedy: "Name samples as in the votes, or give one label a row.")
        }
        return PosteriorCalibration(found, truth: truth)
    }

    // MARK: Errors that several kinds of fit share

    static func noVotes(_ samples: Int, _ path: String) -> AMAFError {
        AMAFError(
            "label-model.no-votes", "No function votes on any of the \(samples) samples", place: path,
            remedy: "Check that -1 is the abstention and that lines of a vote list follow a header.")
    }

    static func otherFunctions(_ found: Int, _ wanted: Int, _ path: String) -> AMAFError {
        AMAFError(
            "label-model.other-functions", "The votes to label have \(found) functions, the model \(wanted)", place: path,
            remedy: "Apply the same functions to both.")
    }

    static func unknownItem(_ item: String, _ votes: ImportedLabelMatrix, _ path: String) -> AMAFError {
        AMAFError(
            "label-model.unknown-item", "There is no sample '\(item)' among \(votes.matrix.sampleCount)", place: path,
            remedy: votes.sampleNames.isEmpty ? "Give a row number, counted from 0." : "Give a name as in the vote list.")
    }

    static func uncovered(_ item: String, _ path: String) -> AMAFError {
        AMAFError(
            "label-model.uncovered", "No function votes on '\(item)', so there is nothing to explain", place: path,
            remedy: "Ask for a covered sample; labels.csv says which are.")
    }

    static func places(of classes: (String, String), in names: [String], _ folder: String) throws(AMAFError) -> (Int, Int) {
        guard let first = names.firstIndex(of: classes.0), let second = names.firstIndex(of: classes.1) else {
            throw AMAFError(
                "label-model.unknown-class", "'\(classes.0)' and '\(classes.1)' are not both classes", place: folder,
                remedy: "The classes are \(names.prefix(12).joined(separator: ", ")).")
        }
        return (first, second)
    }
}
