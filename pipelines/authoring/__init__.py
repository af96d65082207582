"""Pipelines, steps, types, the compiler to a contract."""
