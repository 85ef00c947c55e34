// SimulationKit: see docs/ARCHITECTURE.md.
