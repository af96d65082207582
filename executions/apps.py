from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "executions"

    def ready(self) -> None:
        from executions.workers import impact
        from releases.activation import activation

        if impact.facts not in activation.fact_sources:
            activation.fact_sources.append(impact.facts)
