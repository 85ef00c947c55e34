package import Primitives

/// URLs of doors: `tcp://host:port` or `tls+tcp://host:port`.
package enum DoorAddress {
    /// The artifact door that belongs to a control door: same host, next port.
    package static func artifacts(besides control: String) throws(AMAFError) -> String {
        guard let colon = control.lastIndex(of: ":"), let port = UInt16(control[control.index(after: colon)...]), port > 0, port < .max
        else {
            throw AMAFError(
                "messaging.bad-address", "'\(control)' is not an address with a port",
                remedy: "Write it as tcp://host:7700 or tls+tcp://host:7700.")
        }
        return "\(control[..<colon]):\(port + 1)"
    }
}
