"""Side-by-side benchmarks. Each program takes --quick and --json; the bounds are in bounds.toml."""
