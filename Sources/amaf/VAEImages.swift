import Datasets
import Foundation
import Models
import Primitives

/// Images of one size for an autoencoder, with their classes where there are any.
struct VAEImages {
    var set: ImageSet
    var height: Int
    var width: Int
    var channels: Int
    /// 0 without labels.
    var classes: Int
    /// Of pixels and labels: a training that goes on must be over the same.
    var digest: Digest

    /// - Parameters:
    ///   - path: an IDX file of rank 3 (images, height, width) or 4 (with channels), or a folder of pictures.
    ///   - side, colour: of a folder's pictures.
    static func load(_ path: String, labels: String?, side: Int, colour: Bool) throws(AMAFError) -> VAEImages {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw AMAFError("vae.images", "There is nothing at '\(path)'", remedy: "Check the path.")
        }
        var bytes: [UInt8]
        let (height, width, channels): (Int, Int, Int)
        if isFolder.boolValue {
            (height, width, channels) = (side, side, colour ? 3 : 1)
            bytes = []
            for name in try ImageFolder.names(path) {
                do throws(AMAFError) {
                    bytes += ImageFolder.squeeze(try ImageFolder.read("\(path)/\(name)"), side: side, colour: colour)
                } catch {
                    Console.note("left out: \(error)")
                }
            }
        } else {
            let file = try IDXFile(contentsOf: path)
            guard file.shape.count == 3 || file.shape.count == 4, file.shape.dropFirst().allSatisfy({ (1...4096).contains($0) }) else {
                throw AMAFError(
                    "vae.images", "The file holds an array of shape \(file.shape), not images", place: path,
                    remedy: "Name an IDX file of shape (images, height, width).")
            }
            bytes = file.values
            (height, width, channels) = (file.shape[1], file.shape[2], file.shape.count == 4 ? file.shape[3] : 1)
        }
        let pixels = height * width * channels
        guard !bytes.isEmpty else { throw AMAFError("vae.images", "There are no images", place: path, remedy: "Check the path.") }
        var hasher = DigestHasher()
        hasher.update(bytes)
        var classes: [Int]?
        if let labels {
            let file = try IDXFile(contentsOf: labels)
            guard file.shape == [bytes.count / pixels] else {
                throw AMAFError(
                    "vae.images", "The file holds an array of shape \(file.shape) where \(bytes.count / pixels) classes are needed",
                    place: labels, remedy: "Name the classes of these images.")
            }
            hasher.update(file.values)
            classes = file.values.map(Int.init)
        }
        return VAEImages(
            set: ImageSet(bytes: bytes, labels: classes, pixels: pixels), height: height, width: width, channels: channels,
            classes: (classes?.max()).map { $0 + 1 } ?? 0, digest: hasher.finish())
    }
}

/// One JSON object a line for every epoch; a resumed training keeps those of the epochs that stay.
final class TrainingLog {
    private let path: String
    private var lines: [String]

    init(_ path: String, keeping count: Int) throws(AMAFError) {
        self.path = path
        let text = FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
        lines = text.split(separator: "\n").prefix(count).map(String.init)
    }

    func append(_ row: some Encodable) throws(AMAFError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let line = try? encoder.encode(row) else { preconditionFailure("a row of finite numbers: \(row)") }
        lines.append(String(decoding: line, as: UTF8.self))
        let out = try FileWriter(path)
        try out.write(Array(lines.map { $0 + "\n" }.joined().utf8))
        try out.close()
    }
}
