// WireProtocol: see docs/ARCHITECTURE.md.
