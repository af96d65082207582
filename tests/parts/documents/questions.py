"""Thirty questions as users type them into the search box, and the pages that answer them. Any of them will do."""

QUESTIONS = {
    # Authors of pipelines
    "how do I write a pipeline": "how-to/write-a-pipeline",
    "run pipeline locally without a server": "how-to/develop-locally",
    "pytest": "how-to/test-a-pipeline",
    "retry a step with backoff": "how-to/retry-steps",
    "step timeout": "how-to/limit-the-time-of-a-step",
    "password or API token in a step": "how-to/use-config-and-secrets",
    "wait for approval": "how-to/ask-a-person how-to/wait-for-a-system",
    "process a large list in parallel": "how-to/process-many-items",
    "rate limit": "how-to/limit-concurrency",
    "cron": "how-to/schedule-executions how-to/migrate-from-cron",
    "which types are allowed, Decimal": "reference/language",
    # Releases
    "rollback": "how-to/roll-back how-to/recover-from-a-bad-release",
    "github actions": "how-to/release-from-ci",
    "docker image for workers": "how-to/use-container-images how-to/host-workers",
    "canary": "how-to/activate-gradually",
    "which code ran this execution": "how-to/prove-which-code-ran",
    "who must approve an activation": "how-to/approve-an-activation how-to/set-a-policy",
    # Callers
    "submit from python": "how-to/submit-from-python",
    "idempotency key": "how-to/submit-over-rest how-to/submit-from-python reference/rest-api",
    "webhook when an execution ends": "how-to/receive-results",
    # Operators
    "helm install": "how-to/deploy-on-kubernetes",
    "restore a backup": "how-to/back-up-and-restore",
    "upgrade without downtime": "how-to/upgrade",
    "single sign-on": "how-to/set-up-sign-in",
    "execution stuck": "how-to/find-out-why-an-execution-waits",
    "run failed executions again": "how-to/redrive-failures how-to/run-a-campaign",
    "delete old executions": "how-to/remove-old-data",
    "DATABASE_URL": "reference/settings",
    # Those who decide
    "what happens when a worker crashes": "concepts/durability concepts/executions",
    "temporal": "concepts/when-to-use-it how-to/migrate-from-temporal",
}
