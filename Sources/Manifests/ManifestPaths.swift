internal import Foundation
internal import Primitives

/// Paths in manifests start at the manifest's own folder.
enum ManifestPaths {
    static func resolve(_ path: String, against manifest: String) -> String {
        if path.hasPrefix("/") { return path }
        if path == "~" || path.hasPrefix("~/") { return (path as NSString).expandingTildeInPath }
        let folder = (manifest as NSString).deletingLastPathComponent
        return ((folder.isEmpty ? "." : folder) as NSString).appendingPathComponent(path)
    }

    /// Without `.` and `..` where that can be seen from the text, so that messages and identities do not depend on the detour.
    static func tidy(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/", omittingEmptySubsequences: true) where part != "." {
            if part == "..", let last = parts.last, last != ".." { parts.removeLast() } else { parts.append(part) }
        }
        let joined = parts.joined(separator: "/")
        return path.hasPrefix("/") ? "/" + joined : (joined.isEmpty ? "." : joined)
    }

    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
}

extension YAMLMapping {
    /// A path of something that must be there.
    mutating func existingPath(_ key: String) throws(AMAFError) -> String? {
        guard let written = try text(key) else { return nil }
        let path = ManifestPaths.tidy(ManifestPaths.resolve(written, against: document.path))
        guard ManifestPaths.exists(path) else {
            throw error(
                "manifest.missing-file", "There is nothing at '\(path)'", at: key,
                remedy: "Check the path; it starts at the folder of \(document.path).")
        }
        return path
    }
}
