"""Dispatch, outcomes, calls of REST workers, checkpoints, re-drives, cancellation, sweep, retention, provenance."""
