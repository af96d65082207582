"""Compares the product with its peers on one machine: `python -m benchmarks`. See docs/contributing/performance.md."""
