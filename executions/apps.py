from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "executions"

    def ready(self) -> None:
        from executions.lifecycle import queries
        from executions.workers import eligibility
        from governance.activation import gates, rollback, worker_gate
        from governance.gradual import evidence, measured
        from governance.retirement import retirement, revocation, revoked
        from governance.smoke_tests import gate as smoke_gate

        if eligibility.warnings not in rollback.warning_sources:
            rollback.warning_sources.append(eligibility.warnings)
        for gate in (worker_gate.gate, smoke_gate.gate):
            if gate not in gates.sources:
                gates.sources.append(gate)
        if measured.evidence not in evidence.sources:
            evidence.sources.append(measured.evidence)
        if queries.blockers not in retirement.blocker_sources:
            retirement.blocker_sources.append(queries.blockers)
        if revoked.follow not in revocation.followers:
            revocation.followers.append(revoked.follow)
