"""`/tpf`, the compatibility surface of the founding framework: adapters over the use cases (wire protocol B, C)."""
