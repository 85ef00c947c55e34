// Aggregation: see docs/ARCHITECTURE.md.
