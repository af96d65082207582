"""The protocol: what the coordinator and workers share."""
