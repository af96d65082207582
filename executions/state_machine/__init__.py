"""Guarded state changes, claims, leases, dead letters."""
