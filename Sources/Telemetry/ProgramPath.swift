import Foundation
package import Primitives

/// Where this program and its sisters lie.
package enum ProgramPath {
    /// The running executable's own file.
    package static func own() throws(AMAFError) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard length > 0 else {
            throw AMAFError(
                "process.no-path", "The path of this program cannot be read from /proc/self/exe", remedy: "Run on Linux with /proc mounted."
            )
        }
        return String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A program in the same folder as this one.
    package static func sister(_ name: String) throws(AMAFError) -> String {
        let own = try own()
        let path = own[..<own.lastIndex(of: "/")!] + "/" + name
        guard access(String(path), X_OK) == 0 else {
            throw AMAFError(
                "process.missing-program", "The program '\(name)' is not beside this one", place: String(path),
                remedy: "Build all programs (ops/build) or install them in one folder.")
        }
        return String(path)
    }
}
