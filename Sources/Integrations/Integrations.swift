// Integrations: see docs/ARCHITECTURE.md.
