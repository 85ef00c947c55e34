internal import Foundation
internal import Glibc

/// What a process holds and has used so far, from /proc.
package struct ProcessUsage: Hashable, Sendable {
    /// Bytes in memory now.
    package var residentBytes: Int
    /// The most that were ever in memory at once.
    package var peakResidentBytes: Int
    /// User and system time of all threads; its grain is the kernel's tick, usually 10 ms.
    package var cpuSeconds: Double

    /// - Parameter process: a process id; nil for this one.
    /// - Returns: nil when there is no such process or /proc is hidden.
    package static func current(of process: Int32? = nil) -> ProcessUsage? {
        let folder = "/proc/\(process.map { "\($0)" } ?? "self")"
        guard let status = try? String(contentsOfFile: folder + "/status", encoding: .utf8),
            let stat = try? String(contentsOfFile: folder + "/stat", encoding: .utf8)
        else { return nil }
        return ProcessUsage(status: status, stat: stat, ticksPerSecond: sysconf(Int32(_SC_CLK_TCK)))
    }

    /// - Parameters:
    ///   - status: the text of /proc/PID/status; its `VmRSS` and `VmHWM` are in kB of 1024 bytes.
    ///   - stat: the text of /proc/PID/stat. Fields 14 and 15 are user and system ticks; they are counted from behind the
    ///     command, which stands in parentheses and may hold anything.
    package init?(status: String, stat: String, ticksPerSecond: Int) {
        func kilobytes(_ key: String) -> Int? {
            guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(key + ":") }) else { return nil }
            let fields = line.split { $0 == " " || $0 == "\t" }
            return fields.count > 1 ? Int(fields[1]).map { $0 * 1024 } : nil
        }
        guard let command = stat.lastIndex(of: ")"), ticksPerSecond > 0 else { return nil }
        let fields = stat[stat.index(after: command)...].split(separator: " ")
        guard fields.count > 12, let user = Int(fields[11]), let system = Int(fields[12]) else { return nil }
        // A process that has ended but was not waited for has no memory lines.
        residentBytes = kilobytes("VmRSS") ?? 0
        peakResidentBytes = kilobytes("VmHWM") ?? 0
        cpuSeconds = Double(user + system) / Double(ticksPerSecond)
    }
}
