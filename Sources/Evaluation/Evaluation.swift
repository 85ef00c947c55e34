// Evaluation: see docs/ARCHITECTURE.md.
