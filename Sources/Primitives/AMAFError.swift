/// A failure of the world outside: a code that never changes, a sentence that names the thing, and what to do about it.
///
/// Our own mistakes trap; whatever a user, a file, a network or another program can cause is one of these.
package struct AMAFError: Error, Hashable, Sendable, Codable {
    /// Stable and dotted, `room.what`: `manifest.unknown-key`. Scripts, metrics and the wire use it.
    package var code: String
    /// One sentence that names the thing and says what is wrong with it.
    package var message: String
    /// Where: `file.yaml:12:3`, a sample id, a task. Empty when the message says it all.
    package var place: String
    /// What the reader can do now. Empty when there is nothing.
    package var remedy: String
    /// Whether the same attempt may succeed later without anybody changing anything.
    package var isTransient: Bool

    package init(_ code: String, _ message: String, place: String = "", remedy: String = "", isTransient: Bool = false) {
        self.code = code
        self.message = message
        self.place = place
        self.remedy = remedy
        self.isTransient = isTransient
    }
}

extension AMAFError: CustomStringConvertible {
    /// `place: message (code). remedy`, on one line.
    package var description: String {
        var line = place.isEmpty ? "" : "\(place): "
        line += message.hasSuffix(".") ? String(message.dropLast()) : message
        line += " [\(code)]"
        if !remedy.isEmpty { line += ". \(remedy)" }
        return line.replacing("\n", with: " ")
    }
}
