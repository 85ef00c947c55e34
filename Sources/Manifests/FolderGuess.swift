internal import Datasets
internal import Foundation

/// Guesses what a folder holds from the names of its files.
enum FolderGuess {
    private static let splitNames: Set<String> = ["train", "test", "val", "valid", "validation"]

    /// Arrays of pictures, pictures, or else texts; with splits where the folders or files are named after some.
    static func format(of folder: String) -> DatasetFormat {
        let entries = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter { !$0.hasPrefix(".") }
        let arrays = entries.compactMap { name in
            ["", ".gz"].lazy.map { "-images-idx3-ubyte" + $0 }.first(where: name.hasSuffix).map { String(name.dropLast($0.count)) }
        }
        if !arrays.isEmpty { return DatasetFormat(.idx, splits: Set(arrays.map { $0 == "t10k" ? "test" : $0 }).sorted()) }
        var (files, pictures) = (0, 0)
        let walker = FileManager.default.enumerator(atPath: folder)
        while let file = walker?.nextObject() as? String {
            guard !file.split(separator: "/").contains(where: { $0.hasPrefix(".") }), !(file as NSString).pathExtension.isEmpty else {
                continue
            }
            files += 1
            if PictureFiles.isPicture(file) { pictures += 1 }
        }
        guard pictures > 0, 2 * pictures > files else { return .textFolder }
        let folders = subfolders(of: folder)
        let hasSplits = folders.count > 1 && folders.allSatisfy { splitNames.contains($0.lowercased()) }
        return DatasetFormat(.imageFolder, splits: hasSplits ? folders : [])
    }

    /// Sorted, without hidden ones.
    static func subfolders(of folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter { name in
            !name.hasPrefix(".")
                && ((try? FileManager.default.attributesOfItem(atPath: "\(folder)/\(name)"))?[.type] as? FileAttributeType)
                    == .typeDirectory
        }.sorted()
    }
}
