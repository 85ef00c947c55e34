import Datasets
import Foundation
import Primitives

/// A small data set in CheXpert's layout, made here: JPEGs on which each observation is a bright square at a place of its own, a table with
/// uncertain and blank cells, and rows that are broken.
struct ChexpertFixture {
    static let side = 48
    /// Of the rows that can be used, by path: what the squares say, whatever the table does.
    private(set) var truth: [String: [Bool]] = [:]
    /// The table's cells: "1.0", "0.0", "-1.0" or blank.
    private(set) var cells: [String: [String]] = [:]
    /// In the order of train.csv, unusable ones included.
    private(set) var rows: [String] = []
    let names = ChexpertObservations.names

    /// - Parameter folder: `CheXpert-v1.0-small` is made in it.
    init(in folder: String, train: Int, valid: Int, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let root = "\(folder)/CheXpert-v1.0-small"
        for (split, count) in [("train", train), ("valid", valid)] {
            var lines = [(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"] + names).joined(separator: ",")]
            for i in 0..<count {
                let path = "CheXpert-v1.0-small/\(split)/patient\(10_000 + i / 2)/study\(i % 2 + 1)/view1_frontal.jpg"
                let squares = names.map { _ in generator.uniform() < 0.35 }
                let said = squares.map { isPresent -> String in
                    switch generator.index(below: 10) {
                    case 0: return "-1.0"
                    case 1, 2: return ""
                    default: return isPresent ? "1.0" : "0.0"
                    }
                }
                try Self.write(Self.draw(squares, &generator), "\(folder)/\(path)")
                if split == "train" {
                    truth[path] = squares
                    cells[path] = said
                    rows.append(path)
                }
                lines.append(([path, i % 2 == 0 ? "Male" : "Female", "\(20 + i % 60)", "Frontal", "AP"] + said).joined(separator: ","))
            }
            if split == "train" {
                for (path, cell) in [("CheXpert-v1.0-small/train/nowhere.jpg", "1.0"), (rows[0] + ".odd.jpg", "3.0")] {
                    lines.append(([path, "Male", "50", "Frontal", "AP"] + names.map { _ in cell }).joined(separator: ","))
                    rows.append(path)
                }
            }
            try Self.write(Array((lines.joined(separator: "\n") + "\n").utf8), "\(root)/\(split).csv")
        }
    }

    private static func draw(_ squares: [Bool], _ generator: inout SeededGenerator) -> [UInt8] {
        var pixels = (0..<side * side).map { _ in UInt8(40 + generator.index(below: 40)) }
        for (label, isPresent) in squares.enumerated() where isPresent {
            let (top, left) = (label / 4 * 12 + 1, label % 4 * 12 + 1)
            for y in top..<top + 10 { for x in left..<left + 10 { pixels[y * side + x] = 220 } }
        }
        return JPEGCodec.encode(pixels, width: side, height: side, channels: 1, quality: 92)
    }

    private static func write(_ bytes: [UInt8], _ path: String) throws {
        try FileManager.default.createDirectory(atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }
}
