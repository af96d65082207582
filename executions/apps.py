from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "executions"

    def ready(self) -> None:
        from executions.lifecycle import retirement, revoked
        from executions.workers import hosts, worker_gate
        from releases.activation import blockers, gates, revocation, rollback

        if hosts.warnings not in rollback.warning_sources:
            rollback.warning_sources.append(hosts.warnings)
        if worker_gate.gate not in gates.sources:
            gates.sources.append(worker_gate.gate)
        if retirement.blockers not in blockers.blocker_sources:
            blockers.blocker_sources.append(retirement.blockers)
        if revoked.announce not in revocation.followers:
            revocation.followers.append(revoked.announce)
