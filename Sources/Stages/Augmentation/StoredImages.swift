import Datasets
import Foundation
import Models
package import Primitives

/// Images in an IDX artifact, read row by row from the mapped file: 60,000 of them never lie in memory.
struct StoredImages {
    private let artifact: Artifact
    private let offset: Int
    let shape: [Int]
    let pixels: Int
    var count: Int { shape[0] }

    init(_ artifact: Artifact) throws(AMAFError) {
        self.artifact = artifact
        let start = artifact.withBytes { Array($0.prefix(4 + 4 * 255)) }
        (shape, offset) = try IDXFile.header(start, byteCount: artifact.byteCount, place: artifact.digest.hex)
        pixels = shape.dropFirst().reduce(1, *)
    }

    func bytes(_ rows: some Sequence<Int>) throws(AMAFError) -> [UInt8] {
        var out: [UInt8] = []
        for row in rows {
            guard row >= 0, row < count else {
                throw AMAFError(
                    "augmentation.no-image", "There is no image \(row) among \(count)", remedy: "Labels and images do not fit together.")
            }
            artifact.withBytes { out.append(contentsOf: $0[offset + row * pixels..<offset + (row + 1) * pixels]) }
        }
        return out
    }
}

extension StageTask {
    /// Row numbers in an artifact of UInt32, or all rows where the plan gives none.
    func positions(_ name: String, of count: Int) throws -> [Int] {
        guard inputs.contains(name) else { return Array(0..<count) }
        let artifact = try inputs.single(name)
        return try cache.object("positions", artifact.digest, cost: { $0.count * 8 }) { try RowNumbers.decode(artifact.bytes) }
    }

    /// The images of a training set and their labels, if any; `positions` says which rows of the files belong to it.
    func imageSet(_ rows: [Int], images: StoredImages, labels: StoredImages?) throws -> ImageSet {
        ImageSet(bytes: try images.bytes(rows), labels: try labels?.bytes(rows).map(Int.init), pixels: images.pixels)
    }

    func storedImages(_ name: String) throws -> StoredImages { try StoredImages(try inputs.single(name)) }
    func storedLabels(_ name: String) throws -> StoredImages? { inputs.contains(name) ? try storedImages(name) : nil }
}

/// Row numbers as an artifact.
package enum RowNumbers {
    package static func encode(_ rows: [Int]) -> [UInt8] {
        var writer = ByteWriter(reserving: 4 + 4 * rows.count)
        writer.write(UInt32(rows.count))
        writer.write(array: rows.map { UInt32($0) })
        return writer.bytes
    }
    package static func decode(_ bytes: [UInt8]) throws(AMAFError) -> [Int] {
        try ByteReader.reading(bytes, of: "list of rows") { (reader) throws(AMAFError) in
            try reader.readArray(UInt32.self, count: Int(try reader.read(UInt32.self))).map(Int.init)
        }
    }
}
