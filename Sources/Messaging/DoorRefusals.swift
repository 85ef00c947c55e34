internal import CNNG
internal import Foundation

/// Connections that a server door turned away before they could say anything, since it opened.
///
/// NNG 1.5.2 tells nobody which handshake failed; its statistics count them, and the kernel remembers for a minute whose connection this
/// side ended. Both are put together here, so that an expired certificate on a worker is seen on the head.
package struct DoorRefusals: Hashable, Sendable, Codable {
    /// TLS handshakes that failed: a certificate of another authority, an expired one, none, or plain tcp on a TLS port.
    package var handshakes = 0
    /// Peers that speak TLS or TCP but not this protocol.
    package var protocols = 0
    /// Peers that said nothing, or too slowly.
    package var timeouts = 0
    /// Addresses whose connection this door ended within the last minute or so, sorted; a hint, since a peer may end it first.
    package var recentPeers: [String] = []

    package init() {}
    package var total: Int { handshakes + protocols + timeouts }

    /// Of two doors.
    package static func + (a: Self, b: Self) -> Self {
        var sum = a
        sum.handshakes += b.handshakes
        sum.protocols += b.protocols
        sum.timeouts += b.timeouts
        sum.recentPeers = Set(a.recentPeers + b.recentPeers).sorted()
        return sum
    }

    /// In words, the kinds that happened.
    package var summary: String {
        [(handshakes, "failed TLS handshakes"), (protocols, "peers of another protocol"), (timeouts, "silent peers")]
            .filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
    }
}

/// Values of the counters of one listener or dialer by name; empty when NNG keeps none.
func statistics(_ find: (OpaquePointer) -> OpaquePointer?) -> [String: Int] {
    var root: OpaquePointer?
    guard nng_stats_get(&root) == 0, let root else { return [:] }
    defer { nng_stats_free(root) }
    var values: [String: Int] = [:]
    var next = find(root).flatMap { nng_stat_child($0) }
    while let stat = next {
        if nng_stat_type(stat) == Int32(NNG_STAT_COUNTER.rawValue), let name = nng_stat_name(stat) {
            values[String(cString: name)] = Int(clamping: nng_stat_value(stat))
        }
        next = nng_stat_next(stat)
    }
    return values
}

extension DoorRefusals {
    init(listener values: [String: Int], port: Int) {
        handshakes = values["auth", default: 0] + values["crypto", default: 0]
        protocols = values["proto", default: 0]
        timeouts = values["timeout", default: 0]
        // What NNG counts as "other" is mostly clients that ended a good connection.
        guard total > 0 else { return }
        var peers: Set<String> = []
        for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { continue }
            peers.formUnion(closedHere(port: port, table: text))
        }
        recentPeers = peers.sorted()
    }
}

/// Remote addresses of connections to `port` in the state TIME_WAIT, which the side is in that ended a connection.
///
/// - Parameter table: the text of /proc/net/tcp or tcp6 (proc(5)): addresses are hexadecimal words in the byte order of the machine.
func closedHere(port: Int, table: String) -> Set<String> {
    var peers: Set<String> = []
    for line in table.split(separator: "\n").dropFirst() {
        let fields = line.split(separator: " ")
        guard fields.count > 3, fields[3] == "06" else { continue }
        let local = fields[1].split(separator: ":")
        let remote = fields[2].split(separator: ":")
        guard local.count == 2, remote.count == 2, Int(local[1], radix: 16) == port, let address = addressText(remote[0]) else { continue }
        peers.insert(address)
    }
    return peers
}

private func addressText(_ hex: Substring) -> String? {
    guard hex.utf8.count % 8 == 0 else { return nil }
    var words: [UInt32] = []
    var rest = hex
    while !rest.isEmpty {
        guard let word = UInt32(rest.prefix(8), radix: 16) else { return nil }
        words.append(word)
        rest = rest.dropFirst(8)
    }
    // An IPv4 address in IPv6 clothes.
    if words.count == 4, words[0] == 0, words[1] == 0, words[2] == UInt32(0xFFFF).bigEndian { words = [words[3]] }
    var text = [CChar](repeating: 0, count: 64)
    let family = words.count == 1 ? AF_INET : AF_INET6
    guard words.count == 1 || words.count == 4, inet_ntop(family, words, &text, socklen_t(text.count)) != nil else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Where a pipe comes from; nil when it has gone.
func peerAddress(_ pipe: PipeID) -> String? {
    var address = nng_sockaddr()
    guard nng_pipe_get_addr(nng_pipe(id: pipe.rawValue), NNG_OPT_REMADDR, &address) == 0 else { return nil }
    var text = [CChar](repeating: 0, count: 64)
    switch Int(address.s_family) {
    case Int(NNG_AF_INET.rawValue):
        var raw = address.s_in.sa_addr
        guard inet_ntop(AF_INET, &raw, &text, socklen_t(text.count)) != nil else { return nil }
    case Int(NNG_AF_INET6.rawValue):
        var raw = address.s_in6.sa_addr
        guard inet_ntop(AF_INET6, &raw, &text, socklen_t(text.count)) != nil else { return nil }
    default: return nil
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
