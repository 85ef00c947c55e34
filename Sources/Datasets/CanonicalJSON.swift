internal import Foundation
package import Primitives

/// JSON with sorted keys, no spaces and no escaped slashes: the same value always gives the same bytes, so digests can be made of it.
package enum CanonicalJSON {
    /// - Precondition: the value can be encoded (no infinite or NaN numbers).
    package static func encode(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return String(decoding: try encoder.encode(value), as: UTF8.self)
        } catch {
            preconditionFailure("\(type(of: value)) cannot be written as JSON: \(error)")
        }
    }

    /// - Parameter what: named in errors, for example `data set index`.
    package static func decode<T: Decodable>(_ type: T.Type, from bytes: [UInt8], what: String) throws(AMAFError) -> T {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw AMAFError(
                "artifact.damaged", "A \(what) cannot be read: \(error)",
                remedy: "The file is damaged or was written by another version; delete it and run again.")
        }
    }

    package static func decode<T: Decodable>(_ type: T.Type, from text: String, what: String) throws(AMAFError) -> T {
        try decode(type, from: Array(text.utf8), what: what)
    }
}
