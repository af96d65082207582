"""The compatibility surface of the founding framework, `/tpf`: thin adapters over the domain (wire protocol B, C)."""
