"""Commands, outcomes, heartbeats, instructions, sealing, queues, limits, payloads."""
