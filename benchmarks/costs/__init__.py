"""Counts what each kind of work costs, and compares it with `benchmarks/costs.toml`. See docs/contributing/costs.md."""
