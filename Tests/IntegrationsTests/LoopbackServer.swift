import Foundation

/// A web server for one test: plain sockets on loopback, one request a connection, answers as told.
///
/// `@unchecked Sendable`: the lock guards what several threads touch.
final class LoopbackServer: @unchecked Sendable {
    struct Request {
        var path: String
        /// First byte asked for; nil without a Range header.
        var from: Int?
        /// Counted from 0.
        var number: Int
    }
    struct Answer {
        var status = 200
        var headers: [String] = []
        var body: [UInt8] = []
        /// The connection is closed after so many bytes of the body, though the header promised all of them.
        var cutAfter: Int? = nil
    }

    private let listener: Int32
    let port: UInt16
    private let lock = NSLock()
    private var seen: [Request] = []

    init(_ answer: @escaping @Sendable (Request) -> Answer) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(listener, pointer, length) == 0 && listen(listener, 16) == 0 && getsockname(listener, pointer, &length) == 0
            }
        }
        guard bound else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        Thread { [weak self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { return }
                self?.serve(connection, answer)
                close(connection)
            }
        }.start()
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }

    func url(_ path: String) -> String { "http://127.0.0.1:\(port)\(path)" }
    var requests: [Request] { lock.withLock { seen } }

    private func serve(_ connection: Int32, _ answer: (Request) -> Answer) {
        var head = ""
        while !head.hasSuffix("\r\n\r\n") {
            var byte: UInt8 = 0
            guard recv(connection, &byte, 1, 0) == 1 else { return }
            head.unicodeScalars.append(UnicodeScalar(byte))
        }
        let lines = head.components(separatedBy: "\r\n")
        let range = lines.first { $0.lowercased().hasPrefix("range: bytes=") }
        let request = lock.withLock {
            let request = Request(
                path: String(lines[0].split(separator: " ")[1]), from: range.flatMap { Int($0.dropFirst(13).prefix { $0.isNumber }) },
                number: seen.count)
            seen.append(request)
            return request
        }
        let reply = answer(request)
        let header = ["HTTP/1.1 \(reply.status) X", "Content-Length: \(reply.body.count)", "Connection: close"] + reply.headers
        send(connection, Array((header.joined(separator: "\r\n") + "\r\n\r\n").utf8))
        send(connection, Array(reply.body.prefix(reply.cutAfter ?? reply.body.count)))
        shutdown(connection, Int32(SHUT_WR))
    }

    private func send(_ connection: Int32, _ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// A well-behaved file server with ranges.
    static func file(_ content: [UInt8], _ request: Request) -> Answer {
        guard let from = request.from else { return Answer(body: content) }
        guard from < content.count else { return Answer(status: 416, headers: ["Content-Range: bytes */\(content.count)"]) }
        return Answer(
            status: 206, headers: ["Content-Range: bytes \(from)-\(content.count - 1)/\(content.count)"], body: Array(content[from...]))
    }
}
