package import Primitives
internal import WireProtocol

/// The files of one side of a mutual TLS connection, all PEM. ECDSA P-256 keys are what `amaf certs` makes.
package struct TLSIdentity: Hashable, Sendable {
    package var certificateFile: String
    package var keyFile: String
    /// The authority that must have signed the other side's certificate.
    package var authorityFile: String
    /// The name that the server's certificate must carry; nil takes the host of the URL. Servers ignore it.
    package var serverName: String?
    /// Opening a door checks the files first (`check`), so that an expired certificate is named where it lies. False only where the
    /// other side's refusal is what is looked at.
    package var isCheckedFirst = true

    package init(certificateFile: String, keyFile: String, authorityFile: String, serverName: String? = nil) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.authorityFile = authorityFile
        self.serverName = serverName
    }
}

package struct ServerDoorSettings: Hashable, Sendable {
    /// `tcp://host:port` or `tls+tcp://host:port`; port 0 takes a free one.
    package var url: String
    /// Requests that may be with the handler at the same time. Further ones wait in their senders' connections.
    package var contexts: Int
    /// A longer request closes its connection before memory is set aside for it.
    package var requestLimit: Int
    package var tls: TLSIdentity?
    /// Allows plain tcp on an address that other machines can reach.
    package var allowsInsecure: Bool

    package init(url: String, contexts: Int, requestLimit: Int, tls: TLSIdentity? = nil, allowsInsecure: Bool = false) {
        self.url = url
        self.contexts = contexts
        self.requestLimit = requestLimit
        self.tls = tls
        self.allowsInsecure = allowsInsecure
    }

    /// The control door: up to 64 parked LEASE requests still leave 64 contexts for the rest.
    package static func control(url: String, tls: TLSIdentity? = nil, allowsInsecure: Bool = false) -> Self {
        Self(url: url, contexts: 128, requestLimit: WireLimits.controlRequest, tls: tls, allowsInsecure: allowsInsecure)
    }
    package static func artifacts(url: String, tls: TLSIdentity? = nil, allowsInsecure: Bool = false) -> Self {
        Self(url: url, contexts: 32, requestLimit: WireLimits.artifactMessage, tls: tls, allowsInsecure: allowsInsecure)
    }
}

package struct ClientDoorSettings: Hashable, Sendable {
    package var url: String
    /// Calls under way at the same time; further ones wait here.
    package var contexts: Int
    package var requestLimit: Int
    package var replyLimit: Int
    package var tls: TLSIdentity?
    package var allowsInsecure: Bool
    /// A lost connection is dialled again after this pause, which doubles up to the maximum.
    package var reconnectMinimum: Duration = .milliseconds(100)
    package var reconnectMaximum: Duration = .seconds(10)

    package init(
        url: String, contexts: Int, requestLimit: Int, replyLimit: Int, tls: TLSIdentity? = nil, allowsInsecure: Bool = false
    ) {
        self.url = url
        self.contexts = contexts
        self.requestLimit = requestLimit
        self.replyLimit = replyLimit
        self.tls = tls
        self.allowsInsecure = allowsInsecure
    }

    package static func control(url: String, tls: TLSIdentity? = nil, allowsInsecure: Bool = false) -> Self {
        Self(
            url: url, contexts: 16, requestLimit: WireLimits.controlRequest, replyLimit: WireLimits.controlReply, tls: tls,
            allowsInsecure: allowsInsecure)
    }
    package static func artifacts(url: String, tls: TLSIdentity? = nil, allowsInsecure: Bool = false) -> Self {
        Self(
            url: url, contexts: 8, requestLimit: WireLimits.artifactMessage, replyLimit: WireLimits.artifactMessage, tls: tls,
            allowsInsecure: allowsInsecure)
    }
}

/// A door's address, taken apart and judged.
package struct DoorURL: Hashable, Sendable {
    package enum Scheme: String, Hashable, Sendable {
        case tcp
        case tls = "tls+tcp"
    }
    package var scheme: Scheme
    /// Without the brackets of an IPv6 address.
    package var host: String
    package var port: Int

    /// - Throws: `messaging.url` for anything but `tcp://host:port` and `tls+tcp://host:port`. `ipc://` is refused on purpose: in
    ///   NNG 1.5.2 one peer that leaves during the handshake stops such a listener for good.
    package init(_ text: String) throws(AMAFError) {
        func refused(_ why: String) -> AMAFError {
            AMAFError(
                "messaging.url", "'\(text)' is no address of a door: \(why)",
                remedy: "Write tcp://127.0.0.1:7700 on one box, tls+tcp://head.example.org:7700 between boxes.")
        }
        guard let separator = text.firstRange(of: "://") else { throw refused("it has no scheme") }
        guard let scheme = Scheme(rawValue: String(text[..<separator.lowerBound])) else {
            throw refused("the scheme '\(text[..<separator.lowerBound])' is not supported")
        }
        let address = text[separator.upperBound...]
        guard let colon = address.lastIndex(of: ":") else { throw refused("it has no port") }
        let digits = address[address.index(after: colon)...]
        guard let port = Int(digits), (0...65535).contains(port), digits.allSatisfy(\.isNumber) else {
            throw refused("'\(digits)' is no port")
        }
        var host = String(address[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, !host.contains("/"), !host.contains(" ") else { throw refused("it has no host") }
        self.scheme = scheme
        self.host = host
        self.port = port
    }

    /// Whether only this machine can reach it.
    package var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    package var text: String { "\(scheme.rawValue)://\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    /// - Throws: `messaging.insecure` for plain tcp beyond this machine, `messaging.tls` when TLS lacks its files.
    func admit(tls: TLSIdentity?, allowsInsecure: Bool) throws(AMAFError) {
        switch scheme {
        case .tcp:
            guard isLoopback || allowsInsecure else {
                throw AMAFError(
                    "messaging.insecure", "\(text) would send everything in the clear to other machines",
                    remedy: "Use tls+tcp:// with certificates (amaf certs), or --insecure inside a network that you trust.")
            }
        case .tls:
            guard tls != nil else {
                throw AMAFError(
                    "messaging.tls", "\(text) needs a certificate, its key and the authority", remedy: "Make them with 'amaf certs'.")
            }
        }
    }
}
