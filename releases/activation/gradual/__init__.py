"""Gradual activations: a candidate gets a share of the new executions, and is then promoted or withdrawn.

Each change is an activation of the pipeline, and happens under its lock. See ADR 57.
"""
