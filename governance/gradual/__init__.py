"""Compares the executions of a candidate with those of the active release, and acts on gradual activations."""
