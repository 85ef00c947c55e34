import Foundation

/// The data sets beside the repository, where a machine has them; tests that need one print what they skip.
enum SharedData {
    static let root: String? = {
        let environment = ProcessInfo.processInfo.environment["AMAF_SHARED_DATA"]
        let beside = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../../shared/data").standardized.path
        return [environment, beside].compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0 + "/weak-supervision") }
    }()

    static func bytes(_ path: String) -> Data? {
        guard let root, let data = FileManager.default.contents(atPath: "\(root)/\(path)") else {
            print("skipped: \(path) is not beside the repository (set AMAF_SHARED_DATA)")
            return nil
        }
        return data
    }

    struct WrenchRow: Decodable {
        struct Payload: Decodable { var text: String }
        var label: Int
        var weak_labels: [Int]
        var data: Payload
    }

    /// One split of a WRENCH set in row order.
    static func wrench(_ set: String, _ split: String) throws -> [WrenchRow]? {
        guard let data = bytes("weak-supervision/wrench-\(set)/\(split).json") else { return nil }
        let rows = try JSONDecoder().decode([String: WrenchRow].self, from: data)
        return rows.sorted { (Int($0.key) ?? 0) < (Int($1.key) ?? 0) }.map(\.value)
    }

    /// (class, pattern) of each rule.
    static func rules(_ set: String) throws -> [(label: String, pattern: String)]? {
        guard let data = bytes("weak-supervision/wrench-\(set)/rules.tsv") else { return nil }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map { line in
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            return (String(fields[0]), String(fields[1]))
        }
    }
}
