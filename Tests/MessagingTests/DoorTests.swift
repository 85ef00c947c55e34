import Dispatch
import Foundation
import Messaging
import Primitives
import Testing

/// Both doors in one process over real loopback connections. Serialized: each test listens, waits and times.
@Suite(.serialized) struct DoorTests {
    @Test func roundTrip() throws {
        let server = try EchoServer()
        defer { server.door.close() }
        #expect(server.door.port > 0)
        #expect(server.door.url == "tcp://127.0.0.1:\(server.door.port)")
        let door = try client(server.door.url)
        defer { door.close() }
        for length in [0, 1, 1000, 1 << 20] {
            let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            #expect(try door.callAndWait(bytes, deadline: .seconds(10)) == bytes, "\(length) bytes")
        }
        #expect(door.isConnected)
        #expect(server.door.counters.requests == 4)
    }

    @Test func asynchronousCallsDoNotMixTheirReplies() async throws {
        let server = try EchoServer()
        let door = try client(server.door.url)
        // Far more calls than contexts.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<2000 {
                group.addTask {
                    let request = Array("call \(number)".utf8)
                    let reply = try await door.call(request, deadline: .seconds(30))
                    #expect(reply == request)
                }
            }
            try await group.waitForAll()
        }
        #expect(server.seen.items.count == 2000)
        closeOnPlainThread { door.close() }
        closeOnPlainThread { server.door.close() }
    }

    @Test func aSilentServerMeetsTheDeadline() throws {
        let server = try EchoServer { $0 == [1] ? nil : $0 }
        defer { server.door.close() }
        let door = try client(server.door.url, contexts: 2)
        defer { door.close() }
        _ = try door.callAndWait([0], deadline: .seconds(10))
        let start = ContinuousClock.now
        // More than there are contexts, so that cancelled contexts must come back.
        let ends = Recorder<String>()
        for _ in 0..<10 {
            door.call([1], deadline: .milliseconds(300)) { result in
                if case .failure(let error) = result { ends.add(error.code) } else { ends.add("reply") }
            }
        }
        #expect(ends.waitFor(10))
        #expect(ends.items.allSatisfy { $0 == "messaging.timed-out" }, "\(ends.items)")
        let took = ContinuousClock.now - start
        #expect(took >= .milliseconds(300) && took < .seconds(5), "\(took)")
        // Both contexts work again.
        for i in 0..<20 as Range<UInt8> { #expect(try door.callAndWait([2, i], deadline: .seconds(10)) == [2, i]) }
        // Replies that come too late go nowhere, and the server's contexts serve again.
        for request in server.parked.takeAll() { request.reply([9]) }
        for i in 0..<20 as Range<UInt8> { #expect(try door.callAndWait([3, i], deadline: .seconds(10)) == [3, i]) }
    }

    @Test func deadlinesRaceWithReplies() throws {
        // Deadlines from below the time of a reply to well above: the race is met from both sides, and no context is lost.
        let server = try EchoServer {
            usleep(UInt32(1000 + Int($0.first ?? 0) * 8))
            return $0
        }
        defer { server.door.close() }
        let door = try client(server.door.url, contexts: 4)
        defer { door.close() }
        let ends = Recorder<String>()
        for i in 0..<1500 {
            let request = [UInt8(truncatingIfNeeded: i)]
            let deadline = i % 10 == 0 ? Duration.seconds(20) : .microseconds(500 + 25 * (i % 400))
            door.call(request, deadline: deadline) { result in
                switch result {
                case .success(let reply): ends.add(reply == request ? "reply" : "wrong reply")
                case .failure(let error): ends.add(error.code)
                }
            }
            if i % 4 == 3 { usleep(2000) }
        }
        #expect(ends.waitFor(1500, seconds: 120))
        let counts = Dictionary(grouping: ends.items) { $0 }.mapValues(\.count)
        #expect(Set(counts.keys).isSubset(of: ["reply", "messaging.timed-out", "messaging.unreachable"]), "\(counts)")
        #expect(counts["reply", default: 0] > 0 && counts["messaging.timed-out", default: 0] > 0, "\(counts)")
        for i in 0..<20 as Range<UInt8> { #expect(try door.callAndWait([i], deadline: .seconds(10)) == [i]) }
    }

    @Test func nobodyListens() throws {
        let door = try client("tcp://127.0.0.1:9")
        defer { door.close() }
        #expect(code { () throws(AMAFError) in try door.callAndWait([1], deadline: .milliseconds(200)) } == "messaging.unreachable")
        #expect(!door.isConnected)
    }

    @Test func aServersDeathIsNoticedAtOnceAndItsReturnToo() throws {
        let server = try EchoServer { $0 == [1] ? nil : $0 }
        let connections = Recorder<Bool>()
        var settings = ClientDoorSettings(url: server.door.url, contexts: 4, requestLimit: 1000, replyLimit: 1000)
        settings.reconnectMaximum = .milliseconds(400)
        let door = try ClientDoor(settings) { connections.add($0) }
        defer { door.close() }
        _ = try door.callAndWait([0], deadline: .seconds(10))
        let ends = Recorder<String>()
        door.call([1], deadline: .seconds(60)) { result in
            if case .failure(let error) = result { ends.add("\(error.code) \(error.isTransient)") } else { ends.add("reply") }
        }
        #expect(server.parked.waitFor(1))
        let start = ContinuousClock.now
        server.door.close()
        #expect(ends.waitFor(1))
        #expect(ends.items == ["messaging.connection-lost true"])
        // Long before the call's own deadline.
        #expect(ContinuousClock.now - start < .seconds(30))
        // A call made while nobody is there waits for the next server at this port.
        door.call([7], deadline: .seconds(30)) { result in
            if case .success(let reply) = result { ends.add("reply \(reply)") } else { ends.add("\(result)") }
        }
        let next = try EchoServer(url: server.door.url)
        defer { next.door.close() }
        #expect(ends.waitFor(2))
        #expect(ends.items.last == "reply [7]")
        #expect(connections.items == [true, false, true])
        // What a closed door still had does no harm.
        for request in server.parked.takeAll() { request.reply([1]) }
    }

    @Test func oversizedRequestsAreRefusedOnBothSides() throws {
        let server = try EchoServer(requestLimit: 10_000)
        defer { server.door.close() }
        let honest = try client(server.door.url, requestLimit: 10_000)
        defer { honest.close() }
        #expect(
            code { () throws(AMAFError) in try honest.callAndWait([UInt8](repeating: 0, count: 10_001), deadline: .seconds(10)) }
                == "messaging.too-large")
        let largest = [UInt8](repeating: 1, count: 10_000)
        #expect(try honest.callAndWait(largest, deadline: .seconds(10)) == largest)
        // A client that does not know the limit loses its connection, once, and nobody else does.
        let ignorant = try client(server.door.url, requestLimit: 1 << 20)
        defer { ignorant.close() }
        #expect(
            code { () throws(AMAFError) in try ignorant.callAndWait([UInt8](repeating: 0, count: 20_000), deadline: .seconds(10)) }
                == "messaging.connection-lost")
        #expect(try honest.callAndWait([5], deadline: .seconds(10)) == [5])
        #expect(try ignorant.callAndWait([6], deadline: .seconds(10)) == [6])
    }

    @Test func garbageOnThePortDoesNotStopService() throws {
        let server = try EchoServer(requestLimit: 10_000)
        defer { server.door.close() }
        let door = try client(server.door.url)
        defer { door.close() }
        _ = try door.callAndWait([0], deadline: .seconds(10))
        var generator = SeededGenerator(seed: 4, stream: "garbage")
        // The greeting of the SP protocols over TCP, as a request socket says it (protocol 0x30).
        let greeting: [UInt8] = [0, 0x53, 0x50, 0, 0, 0x30, 0, 0]
        var silent: [RawConnection] = []
        for round in 0..<300 {
            let connection = try RawConnection(port: server.door.port)
            switch round % 6 {
            case 0: break
            case 1: connection.send((0..<generator.index(below: 300)).map { _ in UInt8(generator.index(below: 256)) })
            // A right greeting, then a message of 2⁶⁴−1, of 4 GiB, or of less than its request number.
            case 2: connection.send(greeting + [UInt8](repeating: 0xFF, count: 8))
            case 3: connection.send(greeting + [0, 0, 0, 1, 0, 0, 0, 0] + [1, 2, 3])
            case 4: connection.send(greeting + [0, 0, 0, 0, 0, 0, 0, 2] + [1, 2])
            // Another protocol's greeting.
            default: connection.send([0, 0x53, 0x50, 0, 0, 0x50, 0, 0])
            }
            if round % 10 == 0 { silent.append(connection) } else { connection.end() }
        }
        for i in 0..<50 as Range<UInt8> { #expect(try door.callAndWait([1, i], deadline: .seconds(10)) == [1, i]) }
        let fresh = try client(server.door.url)
        defer { fresh.close() }
        #expect(try fresh.callAndWait([2], deadline: .seconds(10)) == [2])
        for connection in silent { connection.end() }
    }

    @Test func aReplyToAVanishedClientIsHarmless() throws {
        let server = try EchoServer(contexts: 4) { $0 == [1] ? nil : $0 }
        defer { server.door.close() }
        let vanishing = try client(server.door.url)
        for _ in 0..<4 { vanishing.call([1], deadline: .seconds(60)) { _ in } }
        #expect(server.parked.waitFor(4))
        let pipe = server.parked.items[0].pipe
        vanishing.close()
        #expect(server.removedPipes.waitFor(1))
        #expect(server.removedPipes.items == [pipe])
        for request in server.parked.takeAll() { request.reply([2]) }
        // All four contexts serve again.
        let door = try client(server.door.url)
        defer { door.close() }
        for i in 0..<20 as Range<UInt8> { #expect(try door.callAndWait([3, i], deadline: .seconds(10)) == [3, i]) }
    }

    @Test func droppedRequestsGiveTheirContextBack() throws {
        let server = try EchoServer(contexts: 2) { $0 == [1] ? nil : $0 }
        defer { server.door.close() }
        let door = try client(server.door.url)
        defer { door.close() }
        for _ in 0..<6 {
            #expect(code { () throws(AMAFError) in try door.callAndWait([1], deadline: .milliseconds(100)) } == "messaging.timed-out")
            // The handler forgets it.
            #expect(server.parked.waitFor(1))
            _ = server.parked.takeAll()
        }
        #expect(try door.callAndWait([2], deadline: .seconds(10)) == [2])
        #expect(server.door.counters.unanswered == 6)
    }

    /// LEASE requests wait for work while beats go on.
    @Test func parkedRequestsDoNotStarveOthers() throws {
        let server = try EchoServer { $0.first == 1 ? nil : $0 }
        defer { server.door.close() }
        let patient = try client(server.door.url, contexts: 64)
        defer { patient.close() }
        let ends = Recorder<[UInt8]>()
        for i in 0..<64 as Range<UInt8> {
            patient.call([1, i], deadline: .seconds(60)) { result in if case .success(let reply) = result { ends.add(reply) } }
        }
        #expect(server.parked.waitFor(64))
        let busy = try client(server.door.url)
        defer { busy.close() }
        for served in 0..<200 {
            let request = [2, UInt8(truncatingIfNeeded: served)]
            #expect(try busy.callAndWait(request, deadline: .seconds(30)) == request)
        }
        #expect(ends.items.isEmpty)
        for request in server.parked.takeAll().reversed() { request.reply([9] + request.bytes) }
        #expect(ends.waitFor(64))
        #expect(ends.items.map { $0[2] }.sorted() == Array(0..<64))
    }

    @Test func twoServersCannotShareAPort() throws {
        let server = try EchoServer()
        defer { server.door.close() }
        do {
            let second = try EchoServer(url: server.door.url)
            second.door.close()
            Issue.record("two servers listen on \(server.door.url)")
        } catch let error as AMAFError {
            #expect(error.code == "messaging.address-in-use")
        }
    }

    /// Waits for the thread without holding one of the concurrency pool while NNG's threads need it.
    func closeOnPlainThread(_ body: @escaping @Sendable () -> Void) {
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            body()
            done.signal()
        }
        done.wait()
    }
}
