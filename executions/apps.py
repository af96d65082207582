from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "executions"

    def ready(self) -> None:
        from executions.gradual import comparison
        from executions.lifecycle import queries, revoked
        from executions.smoke_tests import smoke_gate
        from executions.workers import eligibility, worker_gate
        from releases.activation import gates, retirement, revocation, rollback
        from releases.activation.gradual import evidence

        if eligibility.warnings not in rollback.warning_sources:
            rollback.warning_sources.append(eligibility.warnings)
        for gate in (worker_gate.gate, smoke_gate.gate):
            if gate not in gates.sources:
                gates.sources.append(gate)
        if comparison.evidence not in evidence.sources:
            evidence.sources.append(comparison.evidence)
        if queries.blockers not in retirement.blocker_sources:
            retirement.blocker_sources.append(queries.blockers)
        if revoked.follow not in revocation.followers:
            revocation.followers.append(revoked.follow)
