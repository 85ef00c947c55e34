internal import Foundation
internal import Primitives
internal import Yams

/// A parsed YAML file that knows the place of everything in it.
struct YAMLDocument {
    /// As given by the user; part of every place.
    let path: String
    let root: Node

    /// A larger file is no manifest.
    private static let byteLimit = 8 << 20

    static func load(_ path: String) throws(AMAFError) -> YAMLDocument {
        guard let data = FileManager.default.contents(atPath: path) else {
            let type = (try? FileManager.default.attributesOfItem(atPath: path))?[.type] as? FileAttributeType
            let exists = type != nil
            throw AMAFError(
                exists ? "manifest.unreadable-file" : "manifest.missing-file",
                exists ? "'\(path)' \(type == .typeDirectory ? "is a folder" : "cannot be read")" : "There is no file '\(path)'",
                remedy: exists ? "Name a file that may be read." : "Check the path.")
        }
        guard data.count <= byteLimit else {
            throw AMAFError(
                "manifest.too-large", "The file has \(data.count) bytes, more than a manifest's \(byteLimit)", place: path,
                remedy: "Name the manifest, not the data.")
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw AMAFError("manifest.not-utf8", "The file is not UTF-8", place: path, remedy: "Convert it to UTF-8.")
        }
        return try YAMLDocument(text: text, path: path)
    }

    init(text: String, path: String) throws(AMAFError) {
        self.path = path
        let node: Node?
        do {
            // libYAML's stack is bounded only by depth, and a manifest is never deep.
            node = try Parser(yaml: text).singleRoot()
        } catch {
            throw Self.syntaxError(error, path)
        }
        guard let node else {
            throw AMAFError("manifest.empty", "The file is empty", place: path, remedy: "See docs and configs/ for examples.")
        }
        root = node
    }

    func place(_ node: Node) -> String { place(node.mark) }
    func place(_ mark: Mark?) -> String { mark.map { "\(path):\($0.line):\($0.column)" } ?? path }

    func error(_ code: String, _ message: String, at node: Node, remedy: String) -> AMAFError {
        AMAFError(code, message, place: place(node), remedy: remedy)
    }

    private static func syntaxError(_ error: any Error, _ path: String) -> AMAFError {
        var place = path
        var problem = "the parser gave up"
        var code = "manifest.yaml-syntax"
        func stands(_ mark: Mark) { place = "\(path):\(mark.line):\(mark.column)" }
        switch error as? YamlError {
        case .scanner(_, let what, let mark, _), .parser(_, let what, let mark, _), .composer(_, let what, let mark, _):
            problem = what
            stands(mark)
        case .reader(let what, let offset, _, let yaml):
            problem = what
            let lines = yaml.prefix(offset ?? 0).split(separator: "\n", omittingEmptySubsequences: false)
            place = "\(path):\(max(1, lines.count)):\((lines.last?.count ?? 0) + 1)"
        case .duplicatedKeysInMapping(let duplicates, let context):
            code = "manifest.duplicate-key"
            problem = "the key \(duplicates.sorted().map { "'\($0)'" }.joined(separator: ", ")) is there twice"
            stands(context.mark)
        case nil, .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded: problem = "\(error)"
        }
        return AMAFError(
            code, "This is not valid YAML: \(problem)", place: place,
            remedy: code == "manifest.duplicate-key"
                ? "Keep one of them." : "Check indentation, quotes and colons on this line and the one before.")
    }
}

extension Node {
    /// An unquoted `null`, `~` or nothing at all: the key counts as absent.
    var isAbsent: Bool {
        guard let scalar, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null"].contains(scalar.string)
    }

    /// How a message calls it.
    var kindName: String {
        switch self {
        case .scalar(let scalar): "'\(scalar.string)'"
        case .mapping: "a map"
        case .sequence: "a list"
        case .alias: "an alias"
        }
    }
}

/// The entry of `candidates` that the writer probably meant, or nil when none is close.
func closest(to word: String, among candidates: [String]) -> String? {
    let limit = max(1, min(3, word.count / 3))
    let best = candidates.map { ($0, editDistance(word.lowercased(), $0.lowercased())) }.min { ($0.1, $0.0) < ($1.1, $1.0) }
    guard let best, best.1 <= limit else { return nil }
    return best.0
}

/// Levenshtein distance with transpositions of neighbours (optimal string alignment).
func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a), Array(b))
    var beforeLast: [Int] = []
    var last = Array(0...b.count)
    for i in a.indices {
        var row = [i + 1] + [Int](repeating: 0, count: b.count)
        for j in b.indices {
            row[j + 1] = min(last[j] + (a[i] == b[j] ? 0 : 1), last[j + 1] + 1, row[j] + 1)
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { row[j + 1] = min(row[j + 1], beforeLast[j - 1] + 1) }
        }
        beforeLast = last
        last = row
    }
    return last[b.count]
}
