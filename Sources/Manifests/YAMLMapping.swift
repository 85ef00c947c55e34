internal import Primitives
internal import Yams

/// One map of a manifest, read key by key; what nobody asked for is an error in the end.
struct YAMLMapping {
    let document: YAMLDocument
    /// Of the map itself, for errors about missing keys.
    let node: Node
    /// Dotted path from the root, empty for the root: `review`.
    let name: String
    private let pairs: [(key: String, keyNode: Node, value: Node)]
    private var known: [String] = []

    init(_ node: Node, in document: YAMLDocument, name: String = "") throws(AMAFError) {
        self.document = document
        self.node = node
        self.name = name
        guard let mapping = node.mapping else {
            throw document.error(
                "manifest.wrong-type", "\(name.isEmpty ? "The file" : "'\(name)'") is \(node.kindName) where a map of keys is needed",
                at: node,
                remedy: "Write 'key: value' lines\(name.isEmpty ? "" : " below '\(name):', indented").")
        }
        var pairs: [(key: String, keyNode: Node, value: Node)] = []
        for (key, value) in mapping {
            guard let text = key.scalar?.string else {
                throw document.error("manifest.wrong-type", "A key is \(key.kindName)", at: key, remedy: "Keys are plain words.")
            }
            pairs.append((text, key, value))
        }
        self.pairs = pairs
    }

    var keys: [String] { pairs.map(\.key) }

    private func path(_ key: String) -> String { name.isEmpty ? key : "\(name).\(key)" }

    /// The value of a key; nil when it is missing or empty.
    mutating func value(_ key: String) -> Node? {
        known.append(key)
        guard let value = pairs.first(where: { $0.key == key })?.value, !value.isAbsent else { return nil }
        return value
    }

    /// Where a key stands, or the map when it does not.
    func keyNode(_ key: String) -> Node { pairs.first { $0.key == key }?.keyNode ?? node }

    func place(_ key: String) -> String { document.place(pairs.first { $0.key == key }?.value ?? node) }

    func error(_ code: String, _ message: String, at key: String, remedy: String) -> AMAFError {
        AMAFError(code, message, place: place(key), remedy: remedy)
    }

    func missing(_ key: String, remedy: String) -> AMAFError {
        AMAFError("manifest.missing-key", "The key '\(path(key))' is missing", place: document.place(node), remedy: remedy)
    }

    /// Refuses keys that nothing has asked for.
    func finish() throws(AMAFError) {
        guard let unknown = pairs.first(where: { !known.contains($0.key) }) else { return }
        let remedy =
            closest(to: unknown.key, among: known).map { "Did you mean '\($0)'?" }
            ?? "Known here are \(known.sorted().joined(separator: ", "))."
        throw document.error("manifest.unknown-key", "The key '\(path(unknown.key))' is unknown", at: unknown.keyNode, remedy: remedy)
    }

    func wrongType(_ key: String, _ node: Node, needs what: String, example: String) -> AMAFError {
        document.error(
            "manifest.wrong-type", "'\(path(key))' is \(node.kindName) where \(what) is needed", at: node,
            remedy: "For example '\(key): \(example)'.")
    }

    // MARK: Values

    mutating func text(_ key: String) throws(AMAFError) -> String? {
        guard let node = value(key) else { return nil }
        guard let text = node.scalar?.string else { throw wrongType(key, node, needs: "a text", example: "word") }
        return text
    }

    mutating func requiredText(_ key: String, remedy: String) throws(AMAFError) -> String {
        guard let text = try text(key), !text.isEmpty else { throw missing(key, remedy: remedy) }
        return text
    }

    /// A text or a list of texts.
    mutating func texts(_ key: String) throws(AMAFError) -> [String]? {
        guard let node = value(key) else { return nil }
        if let scalar = node.scalar { return [scalar.string] }
        guard let sequence = node.sequence else { throw wrongType(key, node, needs: "a list of texts", example: "[one, two]") }
        var texts: [String] = []
        for item in sequence {
            guard let text = item.scalar?.string else { throw wrongType(key, item, needs: "a text", example: "[one, two]") }
            texts.append(text)
        }
        return texts
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int>) throws(AMAFError) -> Int? {
        guard let node = value(key) else { return nil }
        return try integer(key, node, in: range)
    }

    func integer(_ key: String, _ node: Node, in range: ClosedRange<Int>) throws(AMAFError) -> Int {
        guard let number = node.scalar.flatMap({ Int($0.string.replacing("_", with: "")) }) else {
            throw wrongType(key, node, needs: "a whole number", example: "\(max(range.lowerBound, min(10, range.upperBound)))")
        }
        guard range.contains(number) else { throw outOfRange(key, node, "\(number)", Self.describe(range)) }
        return number
    }

    mutating func number(_ key: String, in range: NumberRange) throws(AMAFError) -> Double? {
        guard let node = value(key) else { return nil }
        return try number(key, node, in: range)
    }

    func number(_ key: String, _ node: Node, in range: NumberRange) throws(AMAFError) -> Double {
        guard let number = node.scalar.flatMap({ Double($0.string) }), number.isFinite else {
            throw wrongType(key, node, needs: "a number", example: range.example)
        }
        guard range.contains(number) else { throw outOfRange(key, node, "\(number)", range.description) }
        return number
    }

    mutating func bool(_ key: String) throws(AMAFError) -> Bool? {
        guard let node = value(key) else { return nil }
        switch node.scalar?.string {
        case "true", "yes", "on": return true
        case "false", "no", "off": return false
        default: throw wrongType(key, node, needs: "true or false", example: "true")
        }
    }

    mutating func choice<T: RawRepresentable & CaseIterable>(_ key: String, _ type: T.Type = T.self) throws(AMAFError) -> T?
    where T.RawValue == String {
        guard let node = value(key) else { return nil }
        return try choice(key, node, type)
    }

    func choice<T: RawRepresentable & CaseIterable>(_ key: String, _ node: Node, _ type: T.Type = T.self) throws(AMAFError) -> T
    where T.RawValue == String {
        let names = T.allCases.map(\.rawValue)
        guard let word = node.scalar?.string else {
            throw wrongType(key, node, needs: "one of \(names.joined(separator: ", "))", example: names[0])
        }
        if let choice = T(rawValue: word) { return choice }
        let hint = closest(to: word, among: names).map { "Did you mean '\($0)'?" } ?? "Choose one of \(names.joined(separator: ", "))."
        throw document.error("manifest.unknown-value", "'\(path(key))' cannot be '\(word)'", at: node, remedy: hint)
    }

    mutating func map(_ key: String) throws(AMAFError) -> YAMLMapping? {
        guard let node = value(key) else { return nil }
        return try YAMLMapping(node, in: document, name: path(key))
    }

    mutating func list(_ key: String) throws(AMAFError) -> [Node]? {
        guard let node = value(key) else { return nil }
        guard let sequence = node.sequence else { throw wrongType(key, node, needs: "a list", example: "[…]") }
        return Array(sequence)
    }

    func outOfRange(_ key: String, _ node: Node, _ value: String, _ range: String) -> AMAFError {
        document.error("manifest.out-of-range", "'\(path(key))' is \(value)", at: node, remedy: "It must be \(range).")
    }

    private static func describe(_ range: ClosedRange<Int>) -> String {
        if range.upperBound == .max { return "at least \(range.lowerBound)" }
        return "between \(range.lowerBound) and \(range.upperBound)"
    }
}

/// The numbers that a key allows.
struct NumberRange: CustomStringConvertible {
    var description: String
    var example: String
    private let allows: @Sendable (Double) -> Bool

    func contains(_ number: Double) -> Bool { allows(number) }

    static let positive = NumberRange(description: "greater than 0", example: "0.5") { $0 > 0 }
    /// [0, 1): a rate of errors.
    static let rate = NumberRange(description: "at least 0 and less than 1", example: "0.05") { $0 >= 0 && $0 < 1 }

    /// Degrees.
    static let angle = NumberRange(description: "from 0 to 180", example: "15") { $0 >= 0 && $0 <= 180 }

    private init(description: String, example: String, allows: @escaping @Sendable (Double) -> Bool) {
        self.description = description
        self.example = example
        self.allows = allows
    }
}
