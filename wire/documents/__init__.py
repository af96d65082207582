"""Contract, descriptor, canonical types, signatures, provenance of executions, JSON."""
