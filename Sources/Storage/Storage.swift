// Storage: see docs/ARCHITECTURE.md.
