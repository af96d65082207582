"""Questions while they are open: units, claims, answers, webhooks, resumption."""
