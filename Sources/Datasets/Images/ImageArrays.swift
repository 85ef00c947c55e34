internal import Foundation
internal import Primitives

/// Pictures of one split as one array: (count, height, width, channels) bytes in a file, and their labels.
struct ImageArrays {
    var split: String
    /// For references: the array's own name.
    var name: String
    var pixels: MappedFile
    var firstByte: Int
    var count: Int
    var height: Int
    var width: Int
    var channels: Int
    var labels: [Int]?
}

/// IDX (LeCun's MNIST): big-endian magic 0x0000 08 RANK, sizes, then bytes. `SPLIT-images-idx3-ubyte` beside `SPLIT-labels-idx1-ubyte`.
enum IDXFiles {
    /// MNIST's own names for the test split.
    private static let aliases = ["test": ["test", "t10k"]]

    static func splits(_ path: String, isFolder: Bool, wanted: [String]) throws(AMAFError) -> [ImageArrays] {
        guard isFolder else {
            throw AMAFError(
                "dataset.not-a-folder", "'\(path)' is a file", remedy: "Name the folder that holds the images and the labels.")
        }
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
        func plain(_ name: String) -> String { name.hasSuffix(".gz") ? String(name.dropLast(3)) : name }
        let found = names.map(plain).filter { $0.hasSuffix("-images-idx3-ubyte") }.map { String($0.dropLast("-images-idx3-ubyte".count)) }
        let available = wanted.isEmpty ? found : wanted
        var splits: [ImageArrays] = []
        for split in available {
            guard let stem = (aliases[split] ?? [split]).first(where: found.contains) else {
                throw AMAFError(
                    "dataset.unknown-split", "There is no split '\(split)' in '\(path)'; there are \(found.joined(separator: ", "))",
                    remedy: "Name one of these under 'splits'.")
            }
            let (images, sizes, first) = try open("\(path)/\(stem)-images-idx3-ubyte", rank: 3)
            var labels: [Int]?
            let labelPath = "\(path)/\(stem)-labels-idx1-ubyte"
            if FileManager.default.fileExists(atPath: labelPath) || FileManager.default.fileExists(atPath: labelPath + ".gz") {
                let (file, counts, start) = try open(labelPath, rank: 1)
                guard counts[0] == sizes[0] else {
                    throw AMAFError(
                        "dataset.contradiction", "There are \(counts[0]) labels for \(sizes[0]) images", place: labelPath,
                        remedy: "Get both files of the same release.")
                }
                labels = file.withBytes { bytes in bytes[start..<start + counts[0]].map { Int($0) } }
            }
            splits.append(
                ImageArrays(
                    split: split, name: "\(stem)-images-idx3-ubyte", pixels: images, firstByte: first, count: sizes[0], height: sizes[1],
                    width: sizes[2], channels: 1, labels: labels))
        }
        return splits
    }

    private static func open(_ path: String, rank: Int) throws(AMAFError) -> (MappedFile, sizes: [Int], firstByte: Int) {
        let file = try opened(path)
        let (sizes, offset) = try file.withBytes { (bytes) throws(AMAFError) in
            try IDXFile.header(bytes.prefix(4 + 4 * 255), byteCount: bytes.count, place: path)
        }
        guard sizes.count == rank, sizes.allSatisfy({ $0 > 0 }) else {
            throw AMAFError(
                "dataset.idx", "The file holds an array of shape \(sizes), not one of \(rank) dimensions", place: path,
                remedy: "Get the file again.")
        }
        return (file, sizes, offset)
    }

    /// The plain file, or the gzip of it unpacked into a file that is gone when nobody reads it any longer.
    private static func opened(_ path: String) throws(AMAFError) -> MappedFile {
        if FileManager.default.fileExists(atPath: path), try !Gzip.isCompressed(path) { return try MappedFile(path) }
        let packed = FileManager.default.fileExists(atPath: path) ? path : path + ".gz"
        let scratch = NSTemporaryDirectory() + "amaf-idx-\(UUID().uuidString)"
        defer { unlink(scratch) }
        try Gzip.decompress(packed, to: scratch)
        return try MappedFile(scratch)
    }
}
