internal import Glibc
package import Logging
package import Primitives

/// How an entry of the log is written.
package enum LogFormat: String, Hashable, Sendable, CaseIterable {
    /// For people: `TIME LEVEL label: message key=value …`.
    case text
    /// For machines: one JSON object a line.
    case json
}

/// Sets up swift-log for a program: one line an entry on standard error, written at once.
package enum LogBootstrap {
    /// Call once, first thing in the program: swift-log traps on a second call.
    package static func start(level: Logger.Level = .info, format: LogFormat = .text) {
        LoggingSystem.bootstrap { label in LineLogHandler(label: label, level: level, format: format) }
    }

    /// The level that an argument names.
    ///
    /// - Throws: `telemetry.log-level`.
    package static func level(named name: String) throws(AMAFError) -> Logger.Level {
        if let level = Logger.Level(rawValue: name.lowercased()) { return level }
        throw AMAFError(
            "telemetry.log-level", "There is no log level '\(name)'",
            remedy: "Use one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
}

/// Writes each entry as one line with one system call, so that lines of several threads and processes do not mix and a
/// killed process loses nothing.
package struct LineLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    package var logLevel: Logger.Level
    private let label: String
    private let format: LogFormat
    private let timestamp: @Sendable () -> String
    private let write: @Sendable ([UInt8]) -> Void

    /// - Parameters:
    ///   - timestamp: replaced in tests.
    ///   - write: takes one line with its line feed; standard error by default.
    package init(
        label: String, level: Logger.Level, format: LogFormat, timestamp: @escaping @Sendable () -> String = { WallClock.timestamp() },
        write: @escaping @Sendable ([UInt8]) -> Void = writeToStandardError
    ) {
        self.label = label
        logLevel = level
        self.format = format
        self.timestamp = timestamp
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var all = metadata
        if let provider = metadataProvider { all.merge(provider.get()) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        switch event.error {
        case nil: break
        case let error as AMAFError:
            all["error"] = "\(error)"
            all["error.code"] = "\(error.code)"
        case .some(let error): all["error"] = "\(error)"
        }
        // Sorted: the same entry is the same line.
        let pairs = all.sorted { $0.key < $1.key }
        var line: String
        switch format {
        case .text:
            let level = event.level.rawValue
            line = "\(timestamp()) \(level)\(String(repeating: " ", count: 8 - level.utf8.count)) \(label): \(visible("\(event.message)"))"
            for (key, value) in pairs { line += " \(visible(key))=\(textual(value))" }
        case .json:
            line = "{\"time\":\(quoted(timestamp())),\"level\":\(quoted(event.level.rawValue)),\"label\":\(quoted(label))"
            line += ",\"message\":\(quoted("\(event.message)"))"
            if !pairs.isEmpty { line += ",\"metadata\":\(json(.dictionary(all)))" }
            line += "}"
        }
        line += "\n"
        write(Array(line.utf8))
    }
}

/// Standard error, whole lines, without a buffer. What cannot be written is dropped: a log must not stop the work.
@Sendable package func writeToStandardError(_ line: [UInt8]) {
    line.withUnsafeBytes { bytes in
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(2, bytes.baseAddress! + done, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            done += count
        }
    }
}

/// Text on one line, without what moves a terminal's cursor: a sample's text may end up in a message.
private func visible(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var out = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case let scalar where isControl(scalar): out += "\\u{\(String(scalar.value, radix: 16))}"
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool { scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) }

private func textual(_ value: Logger.MetadataValue) -> String {
    let text: String
    switch value {
    case .string(let string): text = string
    case .stringConvertible(let convertible): text = convertible.description
    case .array, .dictionary: return json(value)
    }
    // Quoted where the end of the value would not be seen.
    return text.isEmpty || text.contains { $0 == " " || $0 == "\"" || $0 == "=" } ? quoted(text) : visible(text)
}

private func json(_ value: Logger.MetadataValue) -> String {
    switch value {
    case .string(let string): quoted(string)
    case .stringConvertible(let convertible): quoted(convertible.description)
    case .array(let values): "[" + values.map(json).joined(separator: ",") + "]"
    case .dictionary(let pairs):
        "{" + pairs.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(json($0.value))" }.joined(separator: ",") + "}"
    }
}

/// A JSON string (RFC 8259, section 7); control characters beyond ASCII are escaped too, for terminals.
private func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case let scalar where isControl(scalar):
            let digits = String(scalar.value, radix: 16)
            out += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}
