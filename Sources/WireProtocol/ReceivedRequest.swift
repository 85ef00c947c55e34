package import Primitives

/// A message as a server got it: a request to serve, or the reply that refuses it.
package enum ReceivedRequest: Sendable {
    case request(Request, Frame.Header)
    /// The bytes of a reply to send back at once: UNSUPPORTED or the error. The connection stays: its other requests are not at fault.
    case refused(AMAFError, reply: [UInt8])

    package static func decode(_ bytes: [UInt8]) -> ReceivedRequest {
        let frame: Frame
        do throws(AMAFError) {
            frame = try Frame.decode(bytes)
        } catch {
            // The id may be damaged too, but most often it is what lets the client find its call.
            return .refused(error, reply: Response.failed(error).encoded(requestID: Frame.requestID(in: bytes)))
        }
        do throws(AMAFError) {
            return .request(try Request.decode(frame), frame.header)
        } catch {
            let response: Response =
                error.code == "wire.unsupported" ? .unsupported(type: frame.header.type, versions: .supported) : .failed(error)
            return .refused(error, reply: response.encoded(requestID: frame.header.requestID, session: frame.header.session))
        }
    }
}
