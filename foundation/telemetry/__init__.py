"""Metrics of the product's processes, and whether their main loops run."""
