"""Guarded updates, prepared statements, limits on the time of queries."""
