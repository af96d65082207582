"""Rules that look for problems: their evaluation, states, deliveries and retention."""
