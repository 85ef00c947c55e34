import Datasets
import Foundation
package import Primitives

/// Where a worker finds the bytes of data sets: folders of its own configuration first, the coordinator's artifact door otherwise.
/// It never assumes the head's file system.
package struct SourceAccess {
    /// Bytes of an artifact that was not fetched as a whole.
    package typealias ReadRange = (Digest, Range<Int>) throws -> [UInt8]

    /// Folders (mounts, synchronised buckets) in which a data set's file may lie under its own name.
    package let folders: [String]
    let readRange: ReadRange?

    package init(folders: [String] = [], readRange: ReadRange? = nil) {
        self.folders = folders
        self.readRange = readRange
    }
}

/// Reads the blocks of one data set, each checked against the digest that the index holds of it.
struct SourceReader {
    private static let window = 1 << 20

    private let index: DatasetIndex
    private let digest: Digest
    private let access: SourceAccess
    /// The worker's own copy, until a block of it turns out to be other bytes.
    private var copy: MappedFile?
    private var ahead: [UInt8] = []
    private var aheadStart = 0
    private(set) var fetchedBytes = 0

    init(_ index: DatasetIndex, digest: Digest, access: SourceAccess) {
        self.index = index
        self.digest = digest
        self.access = access
        // The name comes from the index: only its last component counts, so that it cannot lead out of the folder.
        let name = (index.name as NSString).lastPathComponent
        for folder in access.folders where index.blockDigests != nil {
            if let file = try? MappedFile("\(folder)/\(name)"), file.byteCount == index.sourceByteCount {
                copy = file
                break
            }
        }
    }

    mutating func segments(ofBlock block: Int) throws -> [[UInt8]] {
        if let file = copy {
            let segments = file.withBytes { bytes in index.blocks[block].map { [UInt8](bytes[$0.bytes]) } }
            if index.verifies(segments, asBlock: block) { return segments }
            copy = nil
        }
        var segments: [[UInt8]] = []
        for segment in index.blocks[block] { segments.append(try read(segment.bytes)) }
        guard index.verifies(segments, asBlock: block) else {
            throw AMAFError(
                "dataset.changed", "Block \(block) of '\(index.name)' is not as it was indexed", place: index.name,
                remedy: "Submit the run again so that the source is indexed anew.")
        }
        return segments
    }

    /// Reads on to the end of a window, because the next block of a lease follows.
    private mutating func read(_ range: Range<Int>) throws -> [UInt8] {
        guard let readRange = access.readRange else { preconditionFailure("no way to the bytes of \(digest)") }
        let here = aheadStart..<aheadStart + ahead.count
        if range.lowerBound < here.lowerBound || range.upperBound > here.upperBound {
            let end = min(max(range.upperBound, range.lowerBound + Self.window), index.sourceByteCount)
            guard range.upperBound <= end else {
                throw AMAFError(
                    "dataset.changed", "The source of '\(index.name)' is shorter than its index says", place: index.name,
                    remedy: "Submit the run again so that the source is indexed anew.")
            }
            ahead = try readRange(digest, range.lowerBound..<end)
            aheadStart = range.lowerBound
            fetchedBytes += ahead.count
        }
        guard range.upperBound <= aheadStart + ahead.count else {
            throw AMAFError(
                "dataset.changed", "The source of '\(index.name)' ended early", place: index.name,
                remedy: "Submit the run again so that the source is indexed anew.")
        }
        return Array(ahead[range.lowerBound - aheadStart..<range.upperBound - aheadStart])
    }
}
