// ActiveLearning: see docs/ARCHITECTURE.md.
