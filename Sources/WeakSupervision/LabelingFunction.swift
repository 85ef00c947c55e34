public import Datasets
internal import Foundation
package import Primitives

/// A labeling function as code: whoever writes one in Swift conforms to this. Programs outside of AMAF import `WeakSupervision` and
/// `Datasets` (the library product `LabelingFunctions`), collect votes with `LabelingFunctionVotes` and go on with `amaf label-model fit`;
/// inside it goes to `LabelingFunctionSet` beside the specs.
///
/// It is called from one thread at a time for one set, in any order of blocks, and must answer a sample the same way every time.
public protocol LabelingFunction: Sendable {
    /// Its version must change whenever its answers do: it keys caches and label matrices.
    var id: FunctionID { get }

    /// The answers on consecutive samples.
    ///
    /// Whatever goes wrong on a sample is a fault of that sample (`LabelingAnswers.fault`), never an abstention.
    /// - Parameter samples: nil marks a sample that is to be left out: the function abstains there.
    func answers(on samples: [Sample?]) -> LabelingAnswers
}

/// What one function says of consecutive samples: votes with an optional score, and faults; rows without either are abstentions.
public struct LabelingAnswers: Sendable {
    private let classCount: Int
    private let rowCount: Int
    private var rows: [UInt16] = []
    private var votes: [Int16] = []
    private var scores: [Float] = []
    private var isScored = false
    private var faultCount = 0
    private var firstFault: (row: Int, error: AMAFError)?

    /// - Parameter classCount: of the run; a vote beyond it is a fault.
    public init(rowCount: Int, classCount: Int) {
        precondition(rowCount <= PackedVotes.maximumRowCount, "\(rowCount) rows in one block")
        self.rowCount = rowCount
        self.classCount = classCount
    }

    /// Rows must come in ascending order over `vote` and `fault` together. A vote without a score counts as certain.
    public mutating func vote(_ row: Int, _ classIndex: Int, score: Float? = nil) {
        guard (0..<classCount).contains(classIndex) else {
            fault(
                row,
                AMAFError(
                    "labeling-function.unknown-class", "The answer is class \(classIndex), and there are \(classCount) classes",
                    remedy: "Vote with an index below \(classCount), or abstain."))
            return
        }
        add(row, Int16(classIndex))
        scores.append(score ?? 1)
        if score != nil { isScored = true }
    }

    /// The function cannot answer on this sample because something failed, which is not the same as having no opinion.
    ///
    /// - Parameter sentence: what failed, for whoever reads the report.
    public mutating func fault(_ row: Int, _ sentence: String) {
        fault(row, AMAFError("labeling-function.failed", sentence, remedy: "See what the function's author says of it."))
    }

    package mutating func fault(_ row: Int, _ error: AMAFError) {
        add(row, VoteCode.fault)
        scores.append(0)
        faultCount += 1
        if firstFault == nil { firstFault = (row, error) }
    }

    private mutating func add(_ row: Int, _ vote: Int16) {
        precondition(
            row < rowCount && row > Int(rows.last ?? 0) - (rows.isEmpty ? 1 : 0), "row \(row) after \(rows.last ?? 0) of \(rowCount)")
        rows.append(UInt16(row))
        votes.append(vote)
    }

    func column(_ id: FunctionID, firstSample: Int) -> VoteColumn {
        VoteColumn(
            function: id, votes: PackedVotes(rowCount: rowCount, rows: rows, votes: votes), scores: isScored ? scores : nil,
            faults: firstFault.map { FaultSummary(count: faultCount, firstSample: firstSample + $0.row, firstError: $0.error) })
    }
}

/// What a machine lends to labeling functions.
package struct LabelingContext: Hashable, Sendable {
    /// Whether functions may start programs: `--allow-exec` of a worker, which its slots see as AMAF_ALLOW_EXEC=1.
    package var allowsExec: Bool
    /// The interpreter for Python functions.
    package var python: String

    package init(allowsExec: Bool, python: String = "python3") {
        self.allowsExec = allowsExec
        self.python = python
    }

    /// As the environment says: AMAF_ALLOW_EXEC=1 and AMAF_PYTHON.
    package static var ofEnvironment: LabelingContext {
        let environment = ProcessInfo.processInfo.environment
        return LabelingContext(allowsExec: environment["AMAF_ALLOW_EXEC"] == "1", python: environment["AMAF_PYTHON"] ?? "python3")
    }
}

/// A file that a labeling function reads, by path and content.
///
/// The digest is the file's identity; the path is only where it lies on this machine, so it is no part of the function's digest.
package struct FileReference: Hashable, Sendable {
    package var path: String
    /// nil until somebody looked at the file (`resolve`).
    package var digest: Digest?

    package init(path: String, digest: Digest? = nil) {
        self.path = path
        self.digest = digest
    }

    /// Makes the path absolute and takes the content's digest.
    package mutating func resolve(against folder: String) throws(AMAFError) {
        if !path.hasPrefix("/"), !folder.isEmpty { path = "\(folder)/\(path)" }
        path = URL(fileURLWithPath: path).standardized.path
        digest = Digest.of([UInt8](try read()))
    }

    /// The bytes, mapped; checked against the digest where that is known.
    func load() throws(AMAFError) -> Data {
        let data = try read()
        guard digest == nil || Digest.of([UInt8](data)) == digest else {
            throw AMAFError(
                "labeling-function.changed-file", "The file is not the one that the labeling function was defined with", place: path,
                remedy: "Start the run again, so that the function is defined with the file as it is now.")
        }
        return data
    }

    private func read() throws(AMAFError) -> Data {
        do { return try Data(contentsOf: URL(fileURLWithPath: path), options: .mappedIfSafe) } catch {
            throw AMAFError(
                "labeling-function.missing-file", "The file of a labeling function cannot be read: \(error.localizedDescription)",
                place: path, remedy: "Check the path; every machine that applies the function needs the file there.")
        }
    }
}

extension FileReference: Codable {
    private enum CodingKeys: String, CodingKey { case path, digest }

    /// A plain path, as people write it, or path and digest.
    package init(from decoder: any Decoder) throws {
        if let path = try? decoder.singleValueContainer().decode(String.self) {
            self.init(path: path)
            return
        }
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(path: try fields.decode(String.self, forKey: .path), digest: try fields.decodeIfPresent(Digest.self, forKey: .digest))
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(path, forKey: .path)
        try fields.encodeIfPresent(digest, forKey: .digest)
    }
}
