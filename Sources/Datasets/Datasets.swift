// Datasets: see docs/ARCHITECTURE.md.
