internal import Datasets
internal import Foundation
internal import Primitives

/// Votes by the likeness of a sample's thumbnail to example pictures: each class's best, or most of the nearest.
///
/// Likeness is normalised cross-correlation: the cosine of both pictures' pixels, averaged to `side` × `side` squares, less each picture's
/// mean. Brightness and contrast do not count; position does. (J. P. Lewis, Fast Normalized Cross-Correlation, 1995.)
package struct ImageExamplesRule: Hashable, Sendable {
    package struct Examples: Hashable, Sendable, Codable {
        package var className: String
        package var images: [FileReference]

        package init(className: String, images: [FileReference]) {
            self.className = className
            self.images = images
        }

        private enum CodingKeys: String, CodingKey {
            case className = "class"
            case images
        }
    }
    package var examples: [Examples]
    /// Pictures are compared at this size.
    package var side: Int
    /// 1 votes for the nearest example's class; more ask for a majority among so many.
    package var neighbours: Int
    /// Least likeness of an example that counts; nil for none.
    package var threshold: Double?
    /// With one neighbour: how far the best class must lead the second.
    package var minimumMargin: Double
    /// With more neighbours: how large a part of them must agree.
    package var minimumShare: Double

    package init(
        examples: [Examples], side: Int = 16, neighbours: Int = 1, threshold: Double? = nil, minimumMargin: Double = 0,
        minimumShare: Double = 0.5
    ) {
        self.examples = examples
        self.side = side
        self.neighbours = neighbours
        self.threshold = threshold
        self.minimumMargin = minimumMargin
        self.minimumShare = minimumShare
    }
}

/// Votes by example pictures. Samples without a thumbnail, or with an even one, are abstained from.
struct ImageExamplesFunction: LabelingFunction {
    let id: FunctionID
    private let rule: ImageExamplesRule
    private let references: [[Float]]
    private let vote: NearestVote

    /// - Throws: `labeling-function.missing-file`, `labeling-function.changed-file`, `image.*`; `labeling-function.even-example` for a picture
    ///   of one grey, which resembles nothing.
    init(_ id: FunctionID, _ rule: ImageExamplesRule, classCount: Int, classIndex: (String) throws(AMAFError) -> Int16) throws(AMAFError) {
        self.id = id
        self.rule = rule
        var references: [[Float]] = []
        var labels: [Int] = []
        for group in rule.examples {
            let label = Int(try classIndex(group.className))
            for file in group.images {
                let image = try ImageDecoder().decode([UInt8](try file.load()), place: file.path).grey
                guard let pixels = Self.standardised(image, side: rule.side) else {
                    throw AMAFError(
                        "labeling-function.even-example", "The example picture has one grey everywhere and resembles nothing",
                        place: file.path, remedy: "Take another picture.")
                }
                references.append(pixels)
                labels.append(label)
            }
        }
        self.references = references
        vote = NearestVote(
            labels: labels, classCount: classCount, neighbours: rule.neighbours == 1 ? nil : rule.neighbours, threshold: rule.threshold,
            margin: rule.neighbours == 1 ? rule.minimumMargin : rule.minimumShare)
    }

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: vote.classCount)
        for (row, sample) in samples.enumerated() {
            guard let image = sample?.image?.thumbnail, let pixels = Self.standardised(image, side: rule.side) else { continue }
            let likeness = references.map { reference in
                Double(zip(pixels, reference).reduce(Float(0)) { $0 + $1.0 * $1.1 })
            }
            if let (label, score) = vote(likeness) { out.vote(row, label, score: Float(score)) }
        }
        return out
    }

    /// side × side averages of squares less their mean, of unit length; nil for an even picture. Pictures smaller than the grid are read at
    /// the nearest pixel.
    static func standardised(_ image: GreyImage, side: Int) -> [Float]? {
        guard image.width > 0, image.height > 0 else { return nil }
        var cells = [Float](repeating: 0, count: side * side)
        for y in 0..<side {
            let rows = cell(y, of: image.height, side)
            for x in 0..<side {
                let columns = cell(x, of: image.width, side)
                var sum = 0
                for row in rows { for column in columns { sum += Int(image.pixels[row * image.width + column]) } }
                cells[y * side + x] = Float(sum) / Float(rows.count * columns.count)
            }
        }
        let mean = cells.reduce(0, +) / Float(cells.count)
        let length = cells.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }.squareRoot()
        // Half a grey level over the whole picture is noise of the decoder.
        guard length > 0.5 * Float(side) else { return nil }
        return cells.map { ($0 - mean) / length }
    }

    private static func cell(_ i: Int, of length: Int, _ side: Int) -> Range<Int> {
        let start = i * length / side
        return start..<max(start + 1, (i + 1) * length / side)
    }
}

/// How similarities to labelled references become a vote.
struct NearestVote: Sendable {
    /// Class of each reference.
    let labels: [Int]
    let classCount: Int
    /// nil votes for the nearest.
    let neighbours: Int?
    let threshold: Double?
    let margin: Double

    /// - Parameter similarities: one a reference; larger is nearer.
    /// - Returns: the class and its score (similarity, or share of the neighbours); nil to abstain.
    func callAsFunction(_ similarities: [Double]) -> (label: Int, score: Double)? {
        neighbours.map { majority(similarities, of: $0) } ?? nearest(similarities)
    }

    private func nearest(_ similarities: [Double]) -> (Int, Double)? {
        var best = [Double](repeating: -.infinity, count: classCount)
        for (label, similarity) in zip(labels, similarities) { best[label] = max(best[label], similarity) }
        let order = best.indices.sorted { (best[$1], $0) < (best[$0], $1) }
        let second = order.count > 1 ? best[order[1]] : -.infinity
        guard best[order[0]] >= threshold ?? -.infinity, best[order[0]] - second >= margin else { return nil }
        return (order[0], best[order[0]])
    }

    private func majority(_ similarities: [Double], of count: Int) -> (Int, Double)? {
        let chosen = similarities.indices.sorted { (similarities[$1], $0) < (similarities[$0], $1) }.prefix(count)
            .filter { similarities[$0] >= threshold ?? -.infinity }
        var votes = [Int](repeating: 0, count: classCount)
        for index in chosen { votes[labels[index]] += 1 }
        let order = votes.indices.sorted { (votes[$1], $0) < (votes[$0], $1) }
        let share = Double(votes[order[0]]) / Double(count)
        guard votes[order[0]] > 0, share >= margin, order.count < 2 || votes[order[0]] > votes[order[1]] else { return nil }
        return (order[0], share)
    }
}
