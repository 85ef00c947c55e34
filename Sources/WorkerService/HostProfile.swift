import Foundation
package import Primitives

/// What this machine is, as far as results and operators care.
package enum HostProfile {
    /// Device kind and instruction level: the kernels choose their code by these at run time, so machines that share them give the
    /// same bits with the same build.
    package static func numericsClass() -> NumericsClass {
        #if arch(x86_64)
            let flags = Set(cpuFlags())
            let v3: Set = ["avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"]
            let v4: Set = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]
            let level = v3.isSubset(of: flags) ? (v4.isSubset(of: flags) ? "x86-64-v4" : "x86-64-v3") : "x86-64"
            return NumericsClass("cpu/\(level)/amaf-\(AMAFVersion.current)")
        #else
            return NumericsClass("cpu/arm64/amaf-\(AMAFVersion.current)")
        #endif
    }

    static func cpuFlags() -> [String] {
        guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("flags") })
        else { return [] }
        return line.split(separator: " ").dropFirst().map(String.init)
    }

    package static func name() -> String { ProcessInfo.processInfo.hostName }

    /// `MemAvailable` of /proc/meminfo; 0 where that is hidden.
    package static func availableMemoryBytes() -> UInt64 {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("MemAvailable:") }),
            let kilobytes = line.split(separator: " ").dropFirst().first.flatMap({ UInt64($0) })
        else { return 0 }
        return kilobytes << 10
    }

    package static func memoryBytes() -> UInt64 { ProcessInfo.processInfo.physicalMemory }
}
