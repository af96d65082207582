"""Registry, eligibility, heartbeats, instructions to workers, stranded work."""
