import CTurboJPEG
import Datasets
import Primitives
import Testing

@Suite struct ImageDecoderTests {
    let decoder = ImageDecoder()

    private func code(_ bytes: [UInt8], _ decoder: ImageDecoder = ImageDecoder()) -> String {
        do throws(AMAFError) {
            _ = try decoder.decode(bytes, place: "x.png")
            return "none"
        } catch {
            #expect(error.place == "x.png" && !error.remedy.isEmpty)
            return error.code
        }
    }

    @Test func grey8() throws {
        let image = try decoder.decode(
            PNGWriter.file(width: 3, height: 2, bits: 8, colour: 0, rows: [[1, 2, 3], [253, 254, 255]]), place: "")
        #expect(image == DecodedImage(width: 3, height: 2, channels: 1, samples: .bytes([1, 2, 3, 253, 254, 255])))
    }

    @Test func grey16KeepsItsDepth() throws {
        let image = try decoder.decode(
            PNGWriter.file(width: 2, height: 1, bits: 16, colour: 0, rows: [[0x12, 0x34, 0xFF, 0xFE]]), place: "")
        #expect(image.samples == .words([0x1234, 0xFFFE]))
        #expect(image.grey.pixels == [18, 255])
    }

    @Test func colourAlphaAndPalette() throws {
        let rgba = try decoder.decode(
            PNGWriter.file(width: 1, height: 2, bits: 8, colour: 6, rows: [[200, 100, 50, 255], [200, 100, 50, 0]]), place: "")
        #expect(rgba.channels == 4 && rgba.opaqueBytes.pixels == [200, 100, 50, 0, 0, 0])
        let palette = try decoder.decode(
            PNGWriter.file(
                width: 4, height: 1, bits: 2, colour: 3, rows: [[0b0001_1000]], chunks: [("PLTE", [1, 2, 3, 4, 5, 6, 7, 8, 9])]),
            place: "")
        #expect(palette.samples == .bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]))
        let bits = try decoder.decode(PNGWriter.file(width: 8, height: 1, bits: 1, colour: 0, rows: [[0b1010_0001]]), place: "")
        #expect(bits.samples == .bytes([255, 0, 255, 0, 0, 0, 0, 255]))
        let words = try decoder.decode(
            PNGWriter.file(width: 1, height: 1, bits: 16, colour: 6, rows: [[0, 1, 0, 2, 0, 3, 255, 255]]), place: "")
        #expect(words.samples == .words([1, 2, 3, 65535]))
    }

    /// Luma of pure colours, by BT.601.
    @Test func greyOfColours() throws {
        let image = DecodedImage(width: 4, height: 1, channels: 3, samples: .bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]))
        #expect(image.grey.pixels == [76, 150, 29, 255])
    }

    @Test func brokenFilesAreNamed() throws {
        let rows = (0..<64).map { y in (0..<64).map { x in UInt8(truncatingIfNeeded: x * y) } }
        let png = PNGWriter.file(width: 64, height: 64, bits: 8, colour: 0, rows: rows)
        #expect(code([]) == "image.empty")
        #expect(code(Array("GIF89a".utf8)) == "image.unknown-format")
        #expect(code(Array(png.prefix(png.count / 2))) == "image.truncated")
        #expect(code(Array(png.prefix(20))) == "image.truncated")
        var wrong = png
        wrong[60] ^= 0x55
        #expect(code(wrong) == "image.damaged")
        let jpeg = JPEGCodec.encode(rows.flatMap { $0 }, width: 64, height: 64, channels: 1, quality: 90)
        #expect(code(Array(jpeg.prefix(jpeg.count / 2))) == "image.truncated")
        #expect(code(Array(jpeg.prefix(3))) != "none")
        #expect(["image.damaged", "image.truncated"].contains(code([0xFF, 0xD8] + [UInt8](repeating: 7, count: 100))))
    }

    /// Headers of some bytes that promise 400 million pixels; nothing may be allocated for them.
    @Test func bombsAreRefusedByTheirHeaders() throws {
        var bomb = PNGWriter.file(width: 20_000, height: 20_000, bits: 8, colour: 2, rows: [])
        #expect(code(bomb) == "image.too-large")
        bomb = PNGWriter.file(width: 2_000_000_000, height: 2_000_000_000, bits: 16, colour: 6, rows: [])
        #expect(code(bomb) == "image.too-large")
        var jpeg = JPEGCodec.encode([UInt8](repeating: 9, count: 256), width: 16, height: 16, channels: 1, quality: 80)
        let frame = try #require(jpeg.indices.dropLast().first { jpeg[$0] == 0xFF && jpeg[$0 + 1] == 0xC0 })
        jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0x4E, 0x20, 0x4E, 0x20])
        #expect(code(jpeg) == "image.too-large")
        #expect(code(PNGWriter.file(width: 3, height: 3, bits: 8, colour: 0, rows: []), ImageDecoder(pixelLimit: 8)) == "image.too-large")
    }

    @Test func jpegInGreyAndColour() throws {
        let (width, height) = (48, 32)
        let ramp = (0..<height).flatMap { y in (0..<width).map { x in UInt8(4 * x + y) } }
        let grey = try decoder.decode(JPEGCodec.encode(ramp, width: width, height: height, channels: 1, quality: 95), place: "")
        guard case .bytes(let values) = grey.samples else { return #expect(Bool(false)) }
        #expect(grey.channels == 1 && zip(values, ramp).allSatisfy { abs(Int($0) - Int($1)) <= 4 })
        let colour = try decoder.decode(
            JPEGCodec.encode(ramp.flatMap { [$0, $0, $0] }, width: width, height: height, channels: 3, quality: 95), place: "")
        #expect(colour.channels == 3 && zip(colour.grey.pixels, ramp).allSatisfy { abs(Int($0) - Int($1)) <= 5 })
    }

    /// Shrinking in the DCT gives about the mean of each square of pixels, and is only done as far as asked.
    @Test func jpegShrunkWhileDecoded() throws {
        let (width, height) = (128, 96)
        let ramp = (0..<height).flatMap { y in (0..<width).map { x in UInt8(x + y) } }
        let file = JPEGCodec.encode(ramp, width: width, height: height, channels: 1, quality: 95)
        let half = try decoder.decode(file, place: "", smallest: (40, 40))
        #expect(half.width == 64 && half.height == 48 && half.fileWidth == 128 && half.fileHeight == 96)
        guard case .bytes(let values) = half.samples else { return #expect(Bool(false)) }
        for y in 0..<48 {
            for x in 0..<64 { #expect(abs(Int(values[y * 64 + x]) - (2 * x + 2 * y + 1)) <= 3) }
        }
        #expect(try decoder.decode(file, place: "", smallest: (65, 20)).width == 128)
        #expect(try decoder.decode(file, place: "", smallest: (12, 12)).width == 16)
    }

    /// Bytes between segments that do not belong there are passed over, a missing end is not.
    @Test func strayBytesAreForgiven() throws {
        let pixels = (0..<1024).map { UInt8(truncatingIfNeeded: $0 * 7) }
        let jpeg = JPEGCodec.encode(pixels, width: 32, height: 32, channels: 1, quality: 90)
        let stray = Array(jpeg.prefix(2)) + [1, 2, 3] + Array(jpeg.dropFirst(2))
        #expect(try decoder.decode(stray, place: "") == (try decoder.decode(jpeg, place: "")))
        #expect(code(Array(stray.dropLast(200))) != "none")
    }
}
