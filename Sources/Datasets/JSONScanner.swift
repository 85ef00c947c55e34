internal import Foundation

/// What is wrong with a piece of JSON, and at which byte of the scanned buffer.
struct JSONFault: Error {
    var offset: Int
    var what: String
}

/// Walks over JSON text (RFC 8259) without building a tree, so that a row costs only the strings that are kept.
///
/// Foundation's decoder manages some 15 MB/s on lines like ours, an order of magnitude too slow for a scan. Everything is
/// checked while it is skipped: escapes, surrogate pairs, UTF-8, numbers, and a depth limit against stack exhaustion.
struct JSONScanner {
    /// Lists and objects inside one another.
    static let depthLimit = 128

    let bytes: UnsafeRawBufferPointer
    var at: Int
    let end: Int
    /// Line breaks passed so far.
    private(set) var lineBreaks = 0

    init(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>) {
        self.bytes = bytes
        at = range.lowerBound
        end = range.upperBound
    }

    func fault(_ what: String) -> JSONFault { JSONFault(offset: at, what: what) }

    @inline(__always)
    mutating func skipSpace() {
        while at < end {
            switch bytes[at] {
            case 0x20, 0x09, 0x0D: at += 1
            case 0x0A:
                lineBreaks += 1
                at += 1
            default: return
            }
        }
    }

    /// The next byte that is not space; nil at the end.
    mutating func peek() -> UInt8? {
        skipSpace()
        return at < end ? bytes[at] : nil
    }

    /// Takes this byte if it comes next, after space.
    @inline(__always)
    mutating func take(_ byte: UInt8) -> Bool {
        skipSpace()
        guard at < end, bytes[at] == byte else { return false }
        at += 1
        return true
    }

    mutating func expect(_ byte: UInt8) throws(JSONFault) {
        guard take(byte) else {
            throw fault("'\(Character(UnicodeScalar(byte)))' is missing" + (at < end ? "" : " at the end"))
        }
    }

    /// Goes over an object; `field` must consume each value.
    mutating func object(_ field: (String, inout JSONScanner) throws(JSONFault) -> Void) throws(JSONFault) {
        try expect(UInt8(ascii: "{"))
        if take(UInt8(ascii: "}")) { return }
        repeat {
            let key = try string()
            try expect(UInt8(ascii: ":"))
            try field(key, &self)
        } while take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "}"))
    }

    /// A string with its escapes resolved.
    mutating func string() throws(JSONFault) -> String {
        let start = try stringBody()
        if !start.hasEscapes {
            let body = UnsafeRawBufferPointer(rebasing: bytes[start.begin..<start.end])
            guard let text = validated(body) else { throw JSONFault(offset: start.begin, what: JSONScanner.notUTF8) }
            return text
        }
        return try unescaped(start.begin..<start.end)
    }

    static let notUTF8 = "The text is not UTF-8"

    /// Finds the closing quote; leaves `at` behind it.
    private mutating func stringBody() throws(JSONFault) -> (begin: Int, end: Int, hasEscapes: Bool) {
        try expect(UInt8(ascii: "\""))
        let begin = at
        var hasEscapes = false
        while at < end {
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") {
                at += 1
                return (begin, at - 1, hasEscapes)
            }
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                at += 2
            } else if byte < 0x20 {
                throw fault("A string holds an unescaped control character")
            } else {
                at += 1
            }
        }
        at = min(at, end)
        throw JSONFault(offset: begin, what: "A string is never closed")
    }

    private func unescaped(_ range: Range<Int>) throws(JSONFault) -> String {
        var out: [UInt8] = []
        out.reserveCapacity(range.count)
        var i = range.lowerBound
        func hexadecimal() throws(JSONFault) -> UInt32 {
            guard i + 4 <= range.upperBound else { throw JSONFault(offset: i, what: "An escape \\u is cut off") }
            var value: UInt32 = 0
            for _ in 0..<4 {
                let digit = bytes[i]
                switch digit {
                case 48...57: value = value << 4 | UInt32(digit - 48)
                case 65...70: value = value << 4 | UInt32(digit - 55)
                case 97...102: value = value << 4 | UInt32(digit - 87)
                default: throw JSONFault(offset: i, what: "An escape \\u is not followed by four hexadecimal digits")
                }
                i += 1
            }
            return value
        }
        while i < range.upperBound {
            guard bytes[i] == UInt8(ascii: "\\") else {
                out.append(bytes[i])
                i += 1
                continue
            }
            let escape = bytes[i + 1]
            i += 2
            switch escape {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(escape)
            case UInt8(ascii: "b"): out.append(0x08)
            case UInt8(ascii: "f"): out.append(0x0C)
            case UInt8(ascii: "n"): out.append(0x0A)
            case UInt8(ascii: "r"): out.append(0x0D)
            case UInt8(ascii: "t"): out.append(0x09)
            case UInt8(ascii: "u"):
                let start = i
                var value = try hexadecimal()
                if (0xD800..<0xDC00).contains(value), i + 6 <= range.upperBound, bytes[i] == UInt8(ascii: "\\"),
                    bytes[i + 1] == UInt8(ascii: "u")
                {
                    i += 2
                    let low = try hexadecimal()
                    guard (0xDC00..<0xE000).contains(low) else {
                        throw JSONFault(offset: start, what: "Half of a surrogate pair is missing")
                    }
                    value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
                }
                guard let scalar = UnicodeScalar(value) else { throw JSONFault(offset: start, what: "Half of a surrogate pair is missing") }
                out.append(contentsOf: UTF8.encode(scalar).unsafelyUnwrapped)
            default: throw JSONFault(offset: i - 2, what: "An escape is unknown")
            }
        }
        guard let text = out.withUnsafeBytes({ validated($0) }) else {
            throw JSONFault(offset: range.lowerBound, what: JSONScanner.notUTF8)
        }
        return text
    }

    /// Skips one value of any kind, checking it all the same, and returns where it stands.
    @discardableResult
    mutating func skipValue(depth: Int = 0) throws(JSONFault) -> Range<Int> {
        guard depth < Self.depthLimit else { throw fault("Lists and objects are nested deeper than \(Self.depthLimit)") }
        guard let first = peek() else { throw fault("A value is missing at the end") }
        let start = at
        switch first {
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "{"):
            at += 1
            if !take(UInt8(ascii: "}")) {
                repeat {
                    _ = try string()
                    try expect(UInt8(ascii: ":"))
                    try skipValue(depth: depth + 1)
                } while take(UInt8(ascii: ","))
                try expect(UInt8(ascii: "}"))
            }
        case UInt8(ascii: "["):
            at += 1
            if !take(UInt8(ascii: "]")) {
                repeat { try skipValue(depth: depth + 1) } while take(UInt8(ascii: ","))
                try expect(UInt8(ascii: "]"))
            }
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
        default: throw fault("A value cannot begin with this character")
        }
        return start..<at
    }

    private mutating func word(_ word: StaticString) throws(JSONFault) {
        let matches =
            at + word.utf8CodeUnitCount <= end
            && memcmp(bytes.baseAddress.unsafelyUnwrapped + at, word.utf8Start, word.utf8CodeUnitCount) == 0
        guard matches else { throw fault("A value cannot begin with this character") }
        at += word.utf8CodeUnitCount
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    private mutating func number() throws(JSONFault) {
        func isDigit(_ i: Int) -> Bool { i < end && bytes[i] >= 48 && bytes[i] <= 57 }
        func digits() throws(JSONFault) {
            guard isDigit(at) else { throw fault("A number is not well formed") }
            while isDigit(at) { at += 1 }
        }
        if bytes[at] == UInt8(ascii: "-") { at += 1 }
        if isDigit(at), bytes[at] == UInt8(ascii: "0") {
            at += 1
            guard !isDigit(at) else { throw fault("A number begins with a superfluous 0") }
        } else {
            try digits()
        }
        if at < end, bytes[at] == UInt8(ascii: ".") {
            at += 1
            try digits()
        }
        if at < end, bytes[at] | 0x20 == UInt8(ascii: "e") {
            at += 1
            if at < end, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
            try digits()
        }
    }

    /// The source text of a range that was skipped, which `skipValue` has found to be UTF-8.
    func text(_ range: Range<Int>) -> String { String(decoding: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self) }
}

/// The bytes as a string, or nil when they are not UTF-8.
func validated(_ bytes: UnsafeRawBufferPointer) -> String? {
    bytes.withMemoryRebound(to: UInt8.self) { String(validating: $0, as: UTF8.self) }
}
