"""Admin pages of dead letters, failures, pauses, questions and workers. `governance` has those of executions."""

from executions.admin import dead_letters, failures, holds, interactions, tenants, workers

__all__ = ["dead_letters", "failures", "holds", "interactions", "tenants", "workers"]
