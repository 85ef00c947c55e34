import Datasets
import Foundation
import Primitives
import Testing

/// A folder that is gone after the test.
final class ScratchFolder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-datasets-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let file = "\(path)/\(name)"
        try FileManager.default.createDirectory(atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String { try write(name, Array(text.utf8)) }
}

/// A data set made of a text, indexed.
struct Indexed {
    let scratch: ScratchFolder
    let source: DatasetSource
    let index: DatasetIndex

    init(_ name: String, _ bytes: [UInt8], _ format: DatasetFormat, blockSize: Int = 256, classNames: [String]? = nil) throws {
        scratch = try ScratchFolder()
        source = try DatasetSource.prepare(try scratch.write(name, bytes), format: format, scratch: scratch.path)
        index = try source.index(blockSize: blockSize, classNames: classNames)
    }

    init(_ name: String, _ text: String, _ format: DatasetFormat, blockSize: Int = 256, classNames: [String]? = nil) throws {
        try self.init(name, Array(text.utf8), format, blockSize: blockSize, classNames: classNames)
    }

    /// All blocks, one after the other, read both ways; the two must agree.
    func readAll() throws -> BlockContents {
        let file = try MappedFile(source.path)
        var samples: [Sample] = []
        var quarantined: [QuarantinedRow] = []
        var labels: [Int32] = []
        for block in 0..<index.plan.blockCount {
            let contents = try index.readBlock(block, from: file)
            let segments = file.withBytes { bytes in index.blocks[block].map { [UInt8](bytes[$0.bytes]) } }
            #expect(try index.readBlock(block, segments: segments) == contents, "block \(block) read from its own bytes")
            #expect(contents.samples.firstPosition == samples.count)
            #expect(contents.samples.samples.count == index.plan.range(ofBlock: block).count)
            samples += contents.samples.samples
            quarantined += contents.samples.quarantined
            labels += contents.gold.labels
        }
        return BlockContents(
            samples: SampleBlock(firstPosition: 0, samples: samples, quarantined: quarantined),
            gold: GoldBlock(firstPosition: 0, labels: labels))
    }
}

/// What `body` throws, which must be an error of ours.
func failure<T>(_ body: () throws -> T, sourceLocation: SourceLocation = #_sourceLocation) -> AMAFError? {
    do {
        _ = try body()
        Issue.record("nothing was thrown", sourceLocation: sourceLocation)
    } catch let error as AMAFError {
        #expect(!error.description.contains("\n"), sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
    }
    return nil
}
