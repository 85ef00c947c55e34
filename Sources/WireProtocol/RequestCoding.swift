package import Primitives

extension Request {
    /// The frame of this request.
    ///
    /// - Parameter session: what WELCOME gave; 0 before.
    package func encoded(requestID: RequestID, session: UInt64 = 0) -> [UInt8] { preconditionFailure("being written") }

    /// - Throws: `wire.unsupported` for a type that this build does not know (answer `.unsupported`), `wire.malformed` for a
    ///   body that is not what the type promises.
    package static func decode(_ frame: Frame) throws(AMAFError) -> Request { preconditionFailure("being written") }
}

extension Response {
    /// The frame of this reply to a request.
    ///
    /// - Parameter session: with `.worker(.welcome(…))` and `.operatorWelcome` the new session; otherwise that of the request.
    package func encoded(requestID: RequestID, session: UInt64 = 0) -> [UInt8] { preconditionFailure("being written") }

    package static func decode(_ frame: Frame) throws(AMAFError) -> Response { preconditionFailure("being written") }
}

/// A message as it came from a client: a request to serve, or the reply that refuses it.
package enum ReceivedRequest: Sendable {
    case request(Request, Frame.Header)
    /// Bytes of a reply to send back at once: UNSUPPORTED or the error. Never close the pipe for it.
    case refused(AMAFError, reply: [UInt8])

    package static func decode(_ bytes: [UInt8]) -> ReceivedRequest { preconditionFailure("being written") }
}
