import Foundation
import Messaging
import Primitives

/// Answers each request on a queue of its own, as a real handler would: the callback only hands over.
final class EchoServer: Sendable {
    let door: ServerDoor
    let seen = Recorder<[UInt8]>()
    let removedPipes = Recorder<PipeID>()

    /// - Parameter answer: nil leaves the request without a reply until `parked` is emptied.
    init(
        url: String = "tcp://127.0.0.1:0", contexts: Int = 128, requestLimit: Int = 1 << 20, tls: TLSIdentity? = nil,
        answer: @escaping @Sendable ([UInt8]) -> [UInt8]? = { $0 }
    ) throws {
        let queue = DispatchQueue(label: "echo", attributes: .concurrent)
        let (seen, removedPipes, parked) = (seen, removedPipes, parked)
        door = try ServerDoor(
            ServerDoorSettings(url: url, contexts: contexts, requestLimit: requestLimit, tls: tls),
            onRequest: { request in
                queue.async {
                    seen.add(request.bytes)
                    if let reply = answer(request.bytes) { request.reply(reply) } else { parked.add(request) }
                }
            }, onPipeRemoved: { removedPipes.add($0) })
    }

    let parked = Recorder<IncomingRequest>()
}

/// What callbacks reported, in their order.
final class Recorder<Item: Sendable>: @unchecked Sendable {
    // `@unchecked Sendable`: the list is only touched with the condition held.
    private let condition = NSCondition()
    private var list: [Item] = []

    func add(_ item: Item) {
        condition.lock()
        list.append(item)
        condition.broadcast()
        condition.unlock()
    }

    var items: [Item] {
        condition.lock()
        defer { condition.unlock() }
        return list
    }

    func takeAll() -> [Item] {
        condition.lock()
        defer {
            list = []
            condition.unlock()
        }
        return list
    }

    /// Whether there were so many within the time.
    func waitFor(_ count: Int, seconds: Double = 60) -> Bool {
        let limit = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while list.count < count { if !condition.wait(until: limit) { return list.count >= count } }
        return true
    }
}

func client(_ url: String, contexts: Int = 16, requestLimit: Int = 1 << 20, replyLimit: Int = 16 << 20, tls: TLSIdentity? = nil) throws
    -> ClientDoor
{
    var settings = ClientDoorSettings(url: url, contexts: contexts, requestLimit: requestLimit, replyLimit: replyLimit, tls: tls)
    settings.reconnectMaximum = .milliseconds(400)
    return try ClientDoor(settings)
}

/// The code of the error that a call ends with; nil when it has a reply.
func code(_ body: () throws(AMAFError) -> [UInt8]) -> String? {
    do throws(AMAFError) {
        _ = try body()
        return nil
    } catch { return error.code }
}

/// A client of the raw TCP port that speaks no protocol at all.
struct RawConnection {
    let descriptor: Int32

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard code == 0 else {
            close(descriptor)
            throw AMAFError("test.connect", "port \(port): errno \(errno)")
        }
    }

    func send(_ bytes: [UInt8]) { _ = Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
    func end() { close(descriptor) }
}
