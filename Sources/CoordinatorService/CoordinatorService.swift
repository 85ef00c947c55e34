// CoordinatorService: see docs/ARCHITECTURE.md.
