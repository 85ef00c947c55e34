import ArgumentParser
import Datasets
import Foundation
import Models
import Primitives
import Telemetry

/// Images a second on one thread, from JPEG bytes in memory to 224 × 224 RGB bytes.
struct ImagesBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images", abstract: "JPEG decoding and antialiased resize to 224 x 224, images a second on one thread.")

    @Option(help: "A folder of .jpg files; without one, 640 x 480 pictures of some 100 kB are made.") var folder: String?
    @Option(help: "Seconds of each round.") var seconds = 1.0
    @Option(help: "Rounds; the table gives median, least and most.") var rounds = 3
    @Option(help: "Side of the result.") var side = 224

    func run() throws {
        let files = try folder.map { try Self.read($0) } ?? (0..<32).map { Self.made(UInt64($0)) }
        let decoder = ImageDecoder()
        let bytes = files.reduce(0) { $0 + $1.count } / files.count
        print("\(files.count) JPEGs of \(bytes / 1000) kB on average")
        var table = Table(["work", "images/s", "least", "most"])
        let side = side
        func full(_ file: [UInt8]) throws -> DecodedImage { try decoder.decode(file, place: "benchmark") }
        func small(_ file: [UInt8]) throws -> DecodedImage { try decoder.decode(file, place: "benchmark", smallest: (side, side)) }
        func resized(_ image: DecodedImage) -> Int {
            let (pixels, channels) = image.opaqueBytes
            return ImagePreprocessor.resize(
                pixels, width: image.width, height: image.height, channels: channels, toWidth: side, toHeight: side, .bilinear
            ).count
        }
        table.add(try measure("decode", files) { try full($0).width })
        table.add(try measure("decode, shrunk in the DCT", files) { try small($0).width })
        table.add(try measure("decode + resize, all pixels", files) { resized(try full($0)) })
        table.add(try measure("decode + resize", files) { resized(try small($0)) })
        table.print()
    }

    private func measure(_ name: String, _ files: [[UInt8]], _ work: ([UInt8]) throws -> Int) throws -> [String] {
        var checksum = 0
        for file in files.prefix(4) { checksum &+= try work(file) }
        var rates: [Double] = []
        for _ in 0..<rounds {
            let start = SystemClock.now()
            var done = 0
            while (SystemClock.now() - start).seconds < seconds {
                for file in files { checksum &+= try work(file) }
                done += files.count
            }
            rates.append(Double(done) / (SystemClock.now() - start).seconds)
        }
        precondition(checksum > 0)
        rates.sort()
        return [name] + [rates[rates.count / 2], rates[0], rates[rates.count - 1]].map { "\(Int($0.rounded()))" }
    }

    private static func read(_ folder: String) throws -> [[UInt8]] {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".jpg") }.sorted()
        guard !names.isEmpty else { throw ValidationError("There is no .jpg file in \(folder)") }
        return try names.map { [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0)"))) }
    }

    /// Waves, discs and noise.
    private static func made(_ seed: UInt64) -> [UInt8] {
        let (width, height) = (640, 480)
        var random = SeededGenerator(seed: seed, stream: "benchmark", "images")
        var pixels = [UInt8](repeating: 0, count: width * height * 3)
        let discs = (0..<40).map { _ in
            (
                x: random.index(below: width), y: random.index(below: height), r: 8 + random.index(below: 62),
                colour: (0..<3).map { _ in random.index(below: 256) }
            )
        }
        let (a, b) = (15 + random.index(below: 65), 15 + random.index(below: 65))
        for y in 0..<height {
            for x in 0..<width {
                let disc = discs.last { ($0.x - x) * ($0.x - x) + ($0.y - y) * ($0.y - y) < $0.r * $0.r }
                var noise = random.next()
                for c in 0..<3 {
                    let wave = Int(128 + 80 * sin(Double(x) / Double(a) + Double(y) / Double(b) + Double(c)))
                    pixels[(y * width + x) * 3 + c] = UInt8(clamping: (disc?.colour[c] ?? wave) + Int(noise & 31) - 16)
                    noise >>= 8
                }
            }
        }
        return JPEGCodec.encode(pixels, width: width, height: height, channels: 3, quality: 82)
    }
}
