// Messaging: see docs/ARCHITECTURE.md.
