import Datasets
import Models
import Primitives

/// What `ingest` is told; nothing for texts.
package struct IngestParameters: Hashable, Sendable, Codable {
    /// Side of the grey thumbnails that image samples carry.
    package var thumbnailSide: Int?
    /// Of one picture, checked by its header; nil is `ImageDecoder`'s own limit.
    package var pixelLimit: Int?

    package init(thumbnailSide: Int? = nil, pixelLimit: Int? = nil) {
        self.thumbnailSide = thumbnailSide
        self.pixelLimit = pixelLimit
    }
}

/// Decodes pictures to small grey squares, whatever their shape; who cannot be decoded is quarantined in its place.
struct Thumbnails {
    static let defaultSide = 64

    private let side: Int
    private let decoder: ImageDecoder

    init(_ parameters: IngestParameters) {
        side = parameters.thumbnailSide ?? Self.defaultSide
        decoder = parameters.pixelLimit.map { ImageDecoder(pixelLimit: $0) } ?? ImageDecoder()
    }

    /// - Throws: what may succeed elsewhere (no memory); all else is the sample's fault.
    func fill(_ contents: inout BlockContents) throws(AMAFError) {
        for (i, picture) in contents.pictures.enumerated() {
            guard let picture else { continue }
            let reference = contents.samples.samples[i].image?.reference ?? contents.samples.samples[i].id
            do throws(AMAFError) {
                contents.samples.samples[i].image?.thumbnail = try thumbnail(picture, place: reference)
            } catch {
                if error.isTransient { throw error }
                contents.samples.samples[i].text = ""
                contents.samples.quarantined.append(
                    QuarantinedRow(
                        position: contents.samples.firstPosition + i, place: reference, code: error.code, reason: error.message))
                contents.gold.labels[i] = GoldBlock.unknown
                contents.labelSets?.forget(row: i)
            }
        }
        contents.samples.quarantined.sort { $0.position < $1.position }
    }

    private func thumbnail(_ picture: ImagePayload, place: String) throws(AMAFError) -> GreyImage {
        let grey = try picture.decoded(by: decoder, place: place, smallest: (side, side)).grey
        guard grey.width != side || grey.height != side else { return grey }
        return GreyImage(
            width: side, height: side,
            pixels: ImagePreprocessor.resize(
                grey.pixels, width: grey.width, height: grey.height, channels: 1, toWidth: side, toHeight: side, .bilinear))
    }
}
