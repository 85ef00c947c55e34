import Datasets
import Foundation
import Primitives
import Testing

@Suite struct ImageFilesTests {
    private func idx(_ bytes: [UInt8]) throws -> Result<IDXFile, AMAFError> {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-idx-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        do throws(AMAFError) { return .success(try IDXFile(path: path)) } catch {
            #expect(error.place == path && !error.remedy.isEmpty)
            return .failure(error)
        }
    }

    @Test func readsIDX() throws {
        let header: [UInt8] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]
        let file = try idx(header + [1, 2, 3, 4, 5, 6]).get()
        #expect(file.shape == [2, 1, 3] && file.bytes == [1, 2, 3, 4, 5, 6])
        for count in 0..<header.count + 6 {
            guard case .failure(let error) = try idx(Array((header + [1, 2, 3, 4, 5, 6]).prefix(count))) else {
                Issue.record("\(count) bytes were accepted")
                continue
            }
            #expect(error.code == "idx.damaged")
        }
        guard case .failure(let long) = try idx(header + [UInt8](repeating: 0, count: 7)) else { throw CancellationError() }
        #expect(long.code == "idx.damaged")
        guard case .failure(let floats) = try idx([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]) else { throw CancellationError() }
        #expect(floats.code == "idx.unsupported")
        // Four dimensions of four billion: the product leaves 64 bits.
        guard case .failure(let huge) = try idx([0, 0, 8, 4] + [UInt8](repeating: 255, count: 16)) else { throw CancellationError() }
        #expect(huge.code == "idx.damaged")
    }

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
