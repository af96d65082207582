"""Valid new rows of gradual activations and of their activations, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, each, pipeline, release
from tests.invariants.new_rows_of_releases import ACTIVE, NOT_REGISTERED, OTHER_PIPELINE
from tests.invariants.rows import GRADUAL_PIPELINE

NEW = "'00000000-0000-4000-8000-0000000000a1'::uuid"
CANDIDATE = release("0.5")
STEPS = """'[{"share": 5}, {"share": 50}]'::jsonb"""
ENDED = {"cause": "'person'", "ended_by": "''", "end_reason": "'x'", "ended_at": "now()"}


MOVED = f"""UPDATE releases_pipeline SET activation_id = (SELECT max(id) FROM releases_activation)
    WHERE id = {pipeline()}"""


def of_gradual(version: str) -> str:
    """Return a release of the pipeline whose gradual activation of 5.0 is running, next to 2.0."""
    return release(version, "owner", GRADUAL_PIPELINE)


def gradual_of(status: str) -> str:
    return f"(SELECT id FROM releases_gradualactivation WHERE status = '{status}' AND id <> {NEW})"


def pointing(share: str = "5", kind: str = "gradual", candidate: str = CANDIDATE) -> str:
    """Return the statements that route the executions of the pipeline, as the new gradual activation says."""
    return f"""INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, candidate_id, share, gradual_id, actor, reason)
        SELECT {pipeline()}, 2, {ACTIVE}, {ACTIVE}, '{kind}', {candidate}, {share}, {NEW}, '', '';
        {MOVED}"""


NEW_GRADUAL = {
    "id": NEW,
    "pipeline_id": pipeline(),
    "baseline_id": ACTIVE,
    "candidate_id": CANDIDATE,
    "steps": STEPS,
    "groups": "'{}'::jsonb",
    "bounds": "'{}'::jsonb",
    "step": "0",
    "step_started_at": "now()",
    "status": "'RUNNING'",
    "cause": "NULL",
    "actor": "''",
    "reason": "''",
    "started_at": "now()",
    "ended_by": "NULL",
    "end_reason": "NULL",
    "ended_at": "NULL",
}
SETUP = f"INSERT INTO releases_gradualactivation ({', '.join(NEW_GRADUAL)}) SELECT {', '.join(NEW_GRADUAL.values())}"
NO_CANDIDATE = {"candidate_id": "NULL", "share": "NULL"}
GRADUAL = [
    NewRow(
        "releases_gradualactivation",
        NEW_GRADUAL,
        {
            "gradual_activation_own_releases": [
                *each("pipeline_id", pipeline("rival"), pipeline(name=OTHER_PIPELINE), "0"),
                *each("baseline_id", CANDIDATE, release("0.1"), "0"),
                *each("candidate_id", *(release(version) for version in NOT_REGISTERED)),
                *each("candidate_id", ACTIVE, of_gradual("2.0"), release("1.0", "rival"), "0"),
            ],
            "gradual_activation_starts": [
                *each("step", "1"),
                *({"status": f"'{status}'", **ENDED} for status in ("PROMOTED", "WITHDRAWN", "REPLACED")),
            ],
            "gradual_activation_one_running": [
                {
                    "pipeline_id": pipeline(name=GRADUAL_PIPELINE),
                    "baseline_id": of_gradual("2.0"),
                    "candidate_id": of_gradual("4.0"),
                }
            ],
            "gradual_activation_has_its_step": each("steps", "'[]'::jsonb", "'{}'::jsonb", "'1'::jsonb"),
            "gradual_activation_end_is_complete": [{name: value} for name, value in ENDED.items()],
            "gradual_activation_routes": [
                {"script": "{insert}"},
                {"script": f"{{insert}}; {pointing('6')}"},
                {"script": f"{{insert}}; {pointing('50')}"},
                {"script": f"{{insert}}; {pointing('NULL', 'withdrawal', 'NULL')}"},
            ],
            "releases_gradualactivation_pkey": each("id", gradual_of("RUNNING")),
        },
        [
            {"steps": "'[{\"share\": 5.0}]'::jsonb"},
            *each("candidate_id", CANDIDATE),
        ],
        free="groups bounds actor reason step_started_at started_at",
        script=f"{{insert}}; {pointing()}",
    ),
    NewRow(
        "releases_activation",
        {
            "pipeline_id": pipeline(),
            "sequence": "2",
            "release_id": ACTIVE,
            "previous_id": ACTIVE,
            "kind": "'gradual'",
            "candidate_id": CANDIDATE,
            "share": "5",
            "gradual_id": NEW,
            "actor": "''",
            "reason": "''",
        },
        {
            "activation_kind_of_history": [
                *({"release_id": CANDIDATE, "kind": f"'{kind}'"} for kind in ("gradual", "withdrawal")),
                {"kind": "'promotion'", **NO_CANDIDATE},
            ],
            "activation_of_gradual": [
                *each("gradual_id", gradual_of("RUNNING"), gradual_of("WITHDRAWN"), "gen_random_uuid()"),
                *each("candidate_id", ACTIVE, release("0.1"), of_gradual("5.0"), "0"),
            ],
            "activation_routes_by_kind": [
                *each("candidate_id", "NULL"),
                *each("share", "NULL", "-0.01", "100.01"),
                {"gradual_id": "NULL"},
                *({"kind": f"'{kind}'"} for kind in ("activation", "withdrawal")),
                {"kind": "'withdrawal'", "candidate_id": "NULL"},
                {"kind": "'withdrawal'", "share": "NULL"},
                {"kind": "'withdrawal'", "gradual_id": "NULL", **NO_CANDIDATE},
                {"kind": "'activation'", **NO_CANDIDATE},
                {"kind": "'promotion'", "release_id": CANDIDATE},
            ],
            "activation_routes": [
                *each("share", "0", "6", "100"),
                {"kind": "'withdrawal'", **NO_CANDIDATE},
                {"kind": "'promotion'", "release_id": CANDIDATE, **NO_CANDIDATE},
                {"kind": "'activation'", "gradual_id": "NULL", **NO_CANDIDATE},
            ],
        },
        [],
        setup=SETUP,
        script=f"{{insert}}; {MOVED}",
    ),
]
