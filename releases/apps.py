from django.apps import AppConfig


class ReleasesConfig(AppConfig):
    name = "releases"

    def ready(self) -> None:
        from governance.activation import gates
        from governance.requests import gate, states
        from governance.retirement import retirement, revocation
        from releases import checks  # noqa: F401  # registers them

        if gate.gate not in gates.sources:
            gates.sources.append(gate.gate)
        if states.blockers not in retirement.blocker_sources:
            retirement.blocker_sources.append(states.blockers)
        if states.fail_revoked not in revocation.followers:
            revocation.followers.append(states.fail_revoked)
