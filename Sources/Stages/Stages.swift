// Stages: see docs/ARCHITECTURE.md.
