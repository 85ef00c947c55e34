import Dispatch
import Foundation
import Messaging
import Primitives
import Testing

/// Numbers, not checks: `AMAF_BENCH=1 AMAF_ROOM=Messaging swift test -c release --filter DoorBenchmarks`.
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["AMAF_BENCH"] == "1")) struct DoorBenchmarks {
    /// Replies on NNG's own thread: what the transport itself costs.
    func server(tls: TLSIdentity? = nil, limit: Int = 8 << 20) throws -> ServerDoor {
        try ServerDoor(
            ServerDoorSettings(
                url: tls == nil ? "tcp://127.0.0.1:0" : "tls+tcp://127.0.0.1:0", contexts: 128, requestLimit: limit, tls: tls),
            onRequest: { $0.reply($0.bytes.count > 4096 ? [1] : $0.bytes) })
    }

    func measure(_ name: String, _ door: ClientDoor) throws {
        let small = [UInt8](repeating: 7, count: 256)
        for _ in 0..<200 { _ = try door.callAndWait(small, deadline: .seconds(10)) }
        var times: [Double] = []
        for _ in 0..<5000 {
            let start = ContinuousClock.now
            _ = try door.callAndWait(small, deadline: .seconds(10))
            times.append((ContinuousClock.now - start).seconds * 1e6)
        }
        times.sort()
        print("\(name): round trip 256 B p50 \(Int(times[2500])) us, p99 \(Int(times[4950])) us")

        // 64 calls under way at any time.
        let total = 50_000
        let ended = Recorder<Bool>()
        let gate = DispatchSemaphore(value: 64)
        var start = ContinuousClock.now
        for _ in 0..<total {
            gate.wait()
            door.call(small, deadline: .seconds(30)) { result in
                if case .failure = result { ended.add(false) }
                gate.signal()
            }
        }
        for _ in 0..<64 { gate.wait() }
        let seconds = (ContinuousClock.now - start).seconds
        #expect(ended.items.isEmpty)
        print("\(name): 64 contexts \(Int(Double(total) / seconds)) requests/s")

        for size in [1 << 20, 4 << 20] {
            let blob = [UInt8](repeating: 3, count: size)
            let count = (256 << 20) / size
            start = ContinuousClock.now
            let few = DispatchSemaphore(value: 4)
            for _ in 0..<count {
                few.wait()
                door.call(blob, deadline: .seconds(30)) { _ in few.signal() }
            }
            for _ in 0..<4 { few.wait() }
            for _ in 0..<4 { few.signal() }
            print("\(name): \(size >> 20) MiB requests \(Int(256 / (ContinuousClock.now - start).seconds)) MiB/s")
        }
        for _ in 0..<64 { gate.signal() }
    }

    @Test func tcp() throws {
        let server = try server()
        let door = try client(server.url, contexts: 64, requestLimit: 8 << 20)
        try measure("tcp", door)
        door.close()
        server.close()
    }

    @Test func tls() throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        let server = try server(tls: folder.identity("head"))
        let door = try client(server.url, contexts: 64, requestLimit: 8 << 20, tls: folder.identity("worker", serverName: "localhost"))
        try measure("tls+tcp", door)
        door.close()
        server.close()
    }
}
