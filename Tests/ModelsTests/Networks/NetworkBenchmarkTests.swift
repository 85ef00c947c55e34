import Foundation
import Kernels
import Models
import Testing

/// AMAF_BENCH=vae-mlp28,clip-vit-b32 AMAF_LANES=2 swift test -c release --filter NetworkBenchmarkTests
@Suite struct NetworkBenchmarkTests {
    @Test(.enabled(if: ProcessInfo.processInfo.environment["AMAF_BENCH"] != nil, "AMAF_BENCH names no benchmark")) func measure() throws {
        let environment = ProcessInfo.processInfo.environment
        let device = CPUDevice(lanes: environment["AMAF_LANES"].flatMap(Int.init) ?? CPUDevice.availableLanes)
        let peak = device.measureFMAPeak()
        for name in (environment["AMAF_BENCH"] ?? "").split(separator: ",") {
            let which = try #require(
                NetworkBenchmark.Case(rawValue: String(name)), "\(name) is none of \(NetworkBenchmark.Case.allCases.map(\.rawValue))")
            if environment["AMAF_PROFILE"] != nil { device.startProfile() }
            let row = try NetworkBenchmark.run(which, on: device, batch: environment["AMAF_BATCH"].flatMap(Int.init))
            print("BENCH \(device.lanes) lanes, \(row.line(peak: peak))")
            for entry in device.stopProfile().prefix(16) {
                print(
                    "BENCH   \(Int(entry.seconds * 1e6) / max(entry.calls, 1)) µs × \(entry.calls) = \(Int(entry.seconds * 1e3)) ms \(entry.kernel)"
                )
            }
        }
    }
}
