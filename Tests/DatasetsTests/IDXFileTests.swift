import Datasets
import Foundation
import Primitives
import Testing

@Suite struct IDXFileTests {
    static let images = IDXFile(shape: [2, 2, 3], values: [1, 2, 3, 4, 5, 6, 255, 0, 9, 8, 7, 6])

    @Test func readsWhatItWrites() throws {
        let folder = try ScratchFolder()
        let path = try folder.write("images-idx3-ubyte", Self.images.encode())
        let read = try IDXFile(contentsOf: path)
        #expect(read == Self.images)
        #expect(read.count == 2 && read.itemByteCount == 6)
        #expect(Array(Self.images.encode().prefix(16)) == [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3])
    }

    @Test(
        arguments: [
            [], [0, 0], [1, 0, 8, 1, 0, 0, 0, 1, 7], [0, 0, 0x0D, 1, 0, 0, 0, 0], [0, 0, 8, 0], [0, 0, 8, 2, 0, 0, 0, 1],
            [0, 0, 8, 1, 0, 0, 0, 2, 7], [0, 0, 8, 1, 0, 0, 0, 1, 7, 7],
            [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ] as [[UInt8]]) func refusesWhatIsNone(_ bytes: [UInt8]) throws
    {
        let error = failure { try IDXFile(decoding: bytes, place: "some file") }
        #expect(error?.code == "dataset.idx" && error?.place == "some file")
    }

    @Test func refusesAFileThatIsCutOff() throws {
        let folder = try ScratchFolder()
        let path = try folder.write("cut", Array(Self.images.encode().dropLast()))
        #expect(failure { try IDXFile(contentsOf: path) }?.code == "dataset.idx")
    }

    @Test(.enabled(if: SharedImages.folder != nil, "Fashion-MNIST is not beside the package")) func readsFashionMNIST() throws {
        let folder = try #require(SharedImages.folder)
        let test = try IDXFile(contentsOf: "\(folder)/t10k-images-idx3-ubyte.gz")
        let labels = try IDXFile(contentsOf: "\(folder)/t10k-labels-idx1-ubyte.gz")
        #expect(test.shape == [10000, 28, 28] && labels.shape == [10000])
        #expect((0..<10).allSatisfy { label in labels.values.count { $0 == label } == 1000 })
        #expect(failure { try Gzip.decompressed("\(folder)/t10k-images-idx3-ubyte.gz", limit: 1 << 20) }?.code == "dataset.too-large")
    }
}

private enum SharedImages {
    static let folder: String? = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..").standardized.path
        let folder = (ProcessInfo.processInfo.environment["AMAF_DATA_MIRROR"] ?? root + "/shared/data") + "/fashion-mnist"
        return FileManager.default.fileExists(atPath: folder) ? folder : nil
    }()
}
