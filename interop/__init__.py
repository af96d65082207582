"""`/tpf`, the surface for existing clients and workers: adapters over the use cases."""
