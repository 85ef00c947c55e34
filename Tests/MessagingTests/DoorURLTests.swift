import Messaging
import Primitives
import Testing

@Suite struct DoorURLTests {
    @Test(arguments: [
        "ipc:///run/amaf", "inproc://x", "127.0.0.1:7700", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:65536",
        "tcp://:7700",
        "tcp://127.0.0.1:-1", "tcp://127.0.0.1:+1", "http://127.0.0.1:80", "tcp://a b:1", "",
    ]) func refused(_ text: String) {
        #expect(throws: AMAFError.self) { try DoorURL(text) }
    }

    @Test func taken() throws {
        #expect(try DoorURL("tcp://127.0.0.1:7700").isLoopback)
        #expect(try DoorURL("tcp://127.1.2.3:7700").isLoopback)
        #expect(try DoorURL("tcp://localhost:7700").isLoopback)
        #expect(try DoorURL("tls+tcp://[::1]:7700").isLoopback)
        #expect(try DoorURL("tls+tcp://[::1]:7700").text == "tls+tcp://[::1]:7700")
        for text in [
            "tcp://0.0.0.0:1", "tcp://10.0.0.1:1", "tcp://127.0.0.1.example.org:1", "tcp://127.0.0.256:1", "tcp://[::]:1", "tcp://head:1",
        ] {
            #expect(try !DoorURL(text).isLoopback, "\(text)")
        }
    }

    @Test func plainTCPBeyondThisMachineNeedsAWord() {
        func code(_ body: () throws -> Void) -> String? {
            do {
                try body()
                return nil
            } catch { return (error as? AMAFError)?.code }
        }
        #expect(code { try ServerDoor(.control(url: "tcp://0.0.0.0:0"), onRequest: { _ in }).close() } == "messaging.insecure")
        #expect(code { try ServerDoor(.control(url: "tcp://0.0.0.0:0", allowsInsecure: true), onRequest: { _ in }).close() } == nil)
        #expect(code { try ClientDoor(.control(url: "tcp://10.255.255.1:7700")).close() } == "messaging.insecure")
        #expect(code { try ServerDoor(.control(url: "tls+tcp://127.0.0.1:0"), onRequest: { _ in }).close() } == "messaging.tls")
    }
}
