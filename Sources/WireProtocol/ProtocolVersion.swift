package import Primitives

/// The version of the wire protocol. The major number changes when an old peer would misread a message; the minor one
/// when fields or message types were added, which an old peer skips or answers with UNSUPPORTED.
package struct ProtocolVersion: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package var major: UInt8
    package var minor: UInt8

    package init(_ major: UInt8, _ minor: UInt8) {
        self.major = major
        self.minor = minor
    }

    /// What this build writes. 1.1 brought the held leases of HELLO and HISTORY.
    package static let current = ProtocolVersion(1, 1)

    package static func < (a: Self, b: Self) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
    package var description: String { "\(major).\(minor)" }
}

/// The versions that a build can speak, both ends included.
package struct ProtocolVersionRange: Hashable, Sendable, Codable, CustomStringConvertible {
    package var oldest: ProtocolVersion
    package var newest: ProtocolVersion

    /// - Precondition: `oldest` <= `newest`; check what came from outside with `init(checking:_:)`.
    package init(_ oldest: ProtocolVersion, _ newest: ProtocolVersion) {
        precondition(oldest <= newest, "protocol versions \(oldest) to \(newest) are the wrong way round")
        self.oldest = oldest
        self.newest = newest
    }

    package init(checking oldest: ProtocolVersion, _ newest: ProtocolVersion) throws(AMAFError) {
        guard oldest <= newest else {
            throw AMAFError("wire.malformed", "A peer offers protocol versions \(oldest) to \(newest), an empty range")
        }
        self.init(oldest, newest)
    }

    /// What this build speaks.
    package static let supported = ProtocolVersionRange(ProtocolVersion(1, 0), .current)

    /// The newest version that both speak.
    ///
    /// - Throws: `wire.version` with both ranges, so that the operator sees which side is old.
    package func negotiated(with other: ProtocolVersionRange) throws(AMAFError) -> ProtocolVersion {
        let newestOfBoth = min(newest, other.newest)
        guard newestOfBoth >= max(oldest, other.oldest) else {
            throw AMAFError(
                "wire.version", "The peer speaks protocol \(other) and this build \(self)",
                remedy: "Install the same AMAF release on the head and on the workers.")
        }
        return newestOfBoth
    }

    package var description: String { oldest == newest ? "\(oldest)" : "\(oldest) to \(newest)" }
}
