"""What the coordinator's processes report: metrics, gauges, probes and the status of the installation."""
