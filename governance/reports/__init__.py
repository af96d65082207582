"""Comparisons, pre-flight of activations, drift."""
