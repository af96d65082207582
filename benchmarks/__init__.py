"""Measures the product against its peers on one machine: `python -m benchmarks`. See docs/performance.md."""
