"""The first words of the commands in this package. This imports nothing, so that other commands start as before."""

from typing import Final

WORDS: Final = frozenset(
    {
        *("releases", "requests", "gradual", "executions", "failures", "campaigns", "questions", "workers"),
        *("pipelines", "keys", "members", "alerts", "audit"),
        *("status", "stranded", "drift", "holds", "quotas", "apply", "login", "profiles"),
        *("--help", "--install-completion", "--show-completion"),
    }
)
