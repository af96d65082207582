"""What the coordinator's processes tell about themselves: metrics, reports, probes and the status of the whole."""
