import Datasets
import Foundation
import Primitives
import Testing

@Suite struct ImageFilesTests {
    /// What we write, another library reads back.
    @Test(arguments: [1, 3]) func writesPNG(_ channels: Int) throws {
        let pixels = (0..<13 * 7 * channels).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        let image = try ImageDecoder().decode(ImageWriter.encode(pixels, width: 13, height: 7, channels: channels), place: "test.png")
        #expect((image.width, image.height, image.channels) == (13, 7, channels))
        #expect(image.samples == .bytes(pixels))
        let plain = ImageWriter.netpbm(pixels, width: 13, height: 7, channels: channels)
        #expect(
            plain.suffix(pixels.count).elementsEqual(pixels) && plain.starts(with: Array("P\(channels == 1 ? 5 : 6)\n13 7\n255\n".utf8)))
    }

    @Test func laysImagesOnASheet() {
        let sheet = ImageWriter.sheet([1, 2, 3, 4, 5, 6], count: 3, columns: 2, width: 2, height: 1, channels: 1)
        #expect((sheet.width, sheet.height) == (5, 3))
        #expect(sheet.pixels == [1, 2, 0, 3, 4, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0])
    }
}
