// WeakSupervision: see docs/ARCHITECTURE.md.
