"""Acts on many executions: drafts, rates, canaries, results."""
