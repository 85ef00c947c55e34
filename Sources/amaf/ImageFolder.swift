import Datasets
import Foundation
import Models
import Primitives

/// Pictures in a folder.
enum ImageFolder {
    private static let endings = [".jpg", ".jpeg", ".png", ".pgm"]

    /// File names in order; other files are passed over.
    ///
    /// - Throws: `image.no-folder`, `image.no-images`.
    static func names(_ folder: String) throws(AMAFError) -> [String] {
        guard let all = try? FileManager.default.contentsOfDirectory(atPath: folder) else {
            throw AMAFError("image.no-folder", "There is no folder '\(folder)'", remedy: "Check the path.")
        }
        let names = all.filter { name in endings.contains { name.lowercased().hasSuffix($0) } }.sorted()
        guard !names.isEmpty else {
            throw AMAFError(
                "image.no-images", "The folder has no images among \(all.count) entries", place: folder,
                remedy: "Images end in \(endings.joined(separator: ", ")).")
        }
        return names
    }

    static func read(_ path: String) throws(AMAFError) -> DecodedImage {
        try MappedFile(path).withBytes { (bytes) throws(AMAFError) in try ImageDecoder().decode(bytes, place: path) }
    }

    /// A square of `side` pixels in grey or RGB, whatever shape the picture had.
    static func squeeze(_ image: DecodedImage, side: Int, colour: Bool) -> [UInt8] {
        let (pixels, channels) = colour ? image.opaqueBytes : (image.grey.pixels, 1)
        let small = ImagePreprocessor.resize(
            pixels, width: image.width, height: image.height, channels: channels, toWidth: side, toHeight: side, .bilinear)
        return colour && channels == 1 ? small.flatMap { [$0, $0, $0] } : small
    }
}

extension ImagePreprocessor {
    /// What the network reads of a picture.
    func prepare(_ image: DecodedImage) -> [Float] {
        let (pixels, channels) = mean.count == 1 ? (image.grey.pixels, 1) : image.opaqueBytes
        return self(pixels, width: image.width, height: image.height, channels: channels)
    }
}
