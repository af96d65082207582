"""The page of all environment variables of the coordinator."""

from typing import Final

from coordinator.setting_meanings import TOPICS, Topic
from coordinator.settings import env
from docs.generators.markdown import code, joined, table
from foundation.env import Variable

HEAD: Final = """\
# Settings

Every environment variable of the coordinator. Each process reads them once, when it starts. If some are invalid or
missing, it stops with a message that names all of them and contains no value.

* `NAME_FILE` may name a file with the value, in place of `NAME`. Use this for secrets, as in
  `SECRET_KEY_FILE=/run/secrets/key`.
* An empty value counts as absent.
* Entries of lists, and several secrets, are separated by commas.
* Numbers are at most 1,000,000,000, in ASCII digits without separators.
* URLs have no user info, query or fragment.
* `…_ALLOWED_NETWORKS` are private networks, such as `10.1.0.0/16`, in which the coordinator may call these servers.
  Public addresses are always allowed, and all others are refused.
* `…_CA_FILE` names certificates, in PEM form, of the authorities that are trusted for these servers instead of the
  system's.

`coordinator setup_database`, `coordinator migrate` and `coordinator broker_acl` need only `DATABASE_URL`. Help texts
and `coordinator collectstatic` need no setting. Workers read none of these settings.
"""


def page() -> str:
    missing = env.declared.keys() ^ {name for topic in TOPICS for name in topic.meanings}
    if missing:
        raise ValueError(f"coordinator.settings and coordinator.setting_meanings differ: {', '.join(sorted(missing))}")
    return joined(HEAD, *map(_section, TOPICS))


def _section(topic: Topic) -> str:
    rows = [(*_declared(env.declared[name]), meaning) for name, meaning in topic.meanings.items()]
    text = f"{topic.text}\n\n" if topic.text else ""
    return f"## {topic.title}\n\n{text}{table(('variable', 'kind', 'default', 'meaning'), rows)}"


def _declared(variable: Variable) -> tuple[str, str, str]:
    default = {None: "required", "": "empty"}.get(variable.default) or code(str(variable.default))
    kind = f"{variable.kind}, secret" if variable.secret and not variable.kind.startswith("secret") else variable.kind
    return code(variable.name), kind, default
