/// Sizes in bytes that both ends enforce. A peer that goes beyond them is refused before memory is set aside for it.
package enum WireLimits {
    /// A request on the control door.
    package static let controlRequest = 1 << 20
    /// A reply on the control door: an all-blocks grant or a status page may be long, and the head is trusted by its clients.
    package static let controlReply = 16 << 20
    /// The bytes of one PUT or GET.
    package static let artifactChunk = 4 << 20
    /// A message on the artifact door, either way: a chunk, its header and its body.
    package static let artifactMessage = artifactChunk + (64 << 10)
    /// An artifact at most this large may ride inside COMMIT; larger ones are PUT first.
    package static let inlineArtifact = 64 << 10
    /// All inline artifacts of one COMMIT together, so that the request stays below `controlRequest` with its lists.
    package static let inlineArtifactsPerCommit = 512 << 10
    /// Digests in one HAVE.
    package static let digestsPerHave = 16_384
    /// Events in one answer to HISTORY.
    package static let historyPage = 10_000
    /// A run, stage or worker name, or an error's code.
    package static let nameByteCount = 1024
    /// Each text of an error; longer ones are cut.
    package static let errorTextByteCount = 8192
}
