"""Valid new requests, votes and activations of requests, and every wrong value of each."""

from tests.invariants.new_rows import PAST, Change, NewRow, blanks, each, pipeline, release, times
from tests.invariants.new_rows_of_releases import ACTIVE, NOT_REGISTERED, OTHER_PIPELINE

ASKED_PIPELINE = "org.example.asked"
NEWEST = f"(SELECT activation_id FROM releases_pipeline WHERE id = {pipeline()})"
APPROVALS = f"UPDATE releases_pipeline SET approvals = 1 WHERE id = {pipeline()}"
OVERRIDES = f"UPDATE releases_pipeline SET approvals = 1, emergency_override = true WHERE id = {pipeline()}"
NEW = "'00000000-0000-4000-8000-00000000000a'::uuid"
OPEN = {"policy": "'{\"approvals\": 1}'", "status": "'OPEN'", "setup": APPROVALS}


def person(name: str) -> str:
    return f"(SELECT id FROM auth_user WHERE username = '{name}')"


def request(status: str) -> str:
    """Return the request of `rows` in this state."""
    chosen = f"status = '{status}' AND pipeline_id = {pipeline('owner', ASKED_PIPELINE)}"
    return f"(SELECT id FROM releases_activationrequest WHERE {chosen})"


NEW_REQUEST: Change = {
    "id": NEW,
    "pipeline_id": pipeline(),
    "release_id": release("0.5"),
    "base_id": NEWEST,
    "plan": "NULL",
    "policy": "'{\"approvals\": 0}'",
    "round": "1",
    "moved": "'[]'",
    "requester_id": person("cat"),
    "actor": "''",
    "reason": "'why'",
    "operation_key": "'new'",
    "activate_at": "NULL",
    "created_at": "now()",
    "expires_at": "now() + interval '1 hour'",
    "status": "'APPROVED'",
    "status_changed_at": "now()",
    "code": "''",
    "detail": "''",
    "ended_by": "''",
}


def approved(**changes: str) -> str:
    """Return a statement that inserts an approved request for 0.5."""
    values = {**NEW_REQUEST, **changes}
    return f"INSERT INTO releases_activationrequest ({', '.join(values)}) SELECT {', '.join(values.values())}"


def but(change: str) -> str:
    """Return a statement that changes the new request."""
    return f"UPDATE releases_activationrequest SET {change} WHERE id = {NEW}"


LATER = "activate_at = now() + interval '1 hour'"
CARRIED_OUT = f"""{{insert}}; UPDATE releases_pipeline p SET activation_id = (SELECT max(id) FROM releases_activation)
    WHERE id = {pipeline()}; UPDATE releases_activationrequest SET status = 'ACTIVATED', status_changed_at = now()
    WHERE id = {NEW}"""
PLAN = """'{"steps": [{"share": 5}], "groups": {}, "bounds": {}}'"""
OTHERWISE_PLANNED = (("5", "6"), ('groups": {}', 'groups": {"tags": ["x"]}'), ('bounds": {}', 'bounds": {"x": 1}'))
GRADUAL = "'00000000-0000-4000-8000-00000000000b'::uuid"
STARTED = f"""INSERT INTO releases_gradualactivation (id, pipeline_id, baseline_id, candidate_id, steps, groups, bounds,
    actor, reason)
    SELECT {GRADUAL}, {pipeline()}, {ACTIVE}, {release("0.5")}, '[{{"share": 5}}]', '{{}}', '{{}}', '', ''"""
REQUESTS = [
    NewRow(
        "releases_activationrequest",
        NEW_REQUEST,
        {
            "activation_request_starts": [
                *times("created_at", "status_changed_at"),
                *each("status", "'OPEN'", "'ACTIVATED'", "'REFUSED'", "'EXPIRED'"),
                {**OPEN, "status": "'APPROVED'"},
                *each("round", "2"),
                *each("moved", "'[1]'"),
            ],
            "activation_request_own_release": [
                *each("release_id", *(release(version) for version in NOT_REGISTERED)),
                *each("release_id", release("1.0", "owner", OTHER_PIPELINE), release("1.0", "rival")),
                *each("pipeline_id", pipeline("rival")),
            ],
            "activation_request_of_present": [
                *each(
                    "base_id", "NULL", f"(SELECT activation_id FROM releases_pipeline WHERE id = {pipeline('rival')})"
                ),
                *each("policy", "'{}'", "'{\"approvals\": 1}'", '\'{"approvals": "0"}\''),
                {"setup": APPROVALS},
            ],
            "activation_request_says_why": blanks("reason"),
            "activation_request_status_known": each("status", "'READY'", "''"),
            "activation_request_round_from_one": each("round", "0", "-1"),
            "activation_request_times": [
                *each("expires_at", "now()", PAST),
                *each("activate_at", "now()", PAST, "now() + interval '366 days 1 second'"),
            ],
            "activation_request_end_says_why": [
                *each("code", "'X'"),
                *each("detail", "'x'"),
                *each("ended_by", "'x'"),
                *each("status", "'FAILED'", "'WITHDRAWN'"),
            ],
            "activation_request_plan_is_complete": each(
                "plan", "'null'", "'1'", "'[]'", '\'{"steps": [], "groups": {}}\''
            ),
            "activation_request_operation_once": [{"setup": approved(id="gen_random_uuid()")}],
        },
        [
            OPEN,
            *each("operation_key", "NULL"),
            *each("activate_at", "now() + interval '366 days'"),
            *each("release_id", ACTIVE),
            *each("plan", PLAN),
        ],
        free="id requester_id actor operation_key",
    ),
    NewRow(
        "releases_vote",
        {
            "request_id": request("OPEN"),
            "round": "1",
            "voter_id": person("bob"),
            "actor": "''",
            "decision": "'approve'",
            "comment": "''",
            "voted_at": "now()",
        },
        {
            "vote_of_another_person": each("voter_id", person("cat")),
            "vote_in_open_round": [
                *each(
                    "request_id",
                    *(request(status) for status in ("APPROVED", "REFUSED", "WITHDRAWN", "EXPIRED", "FAILED")),
                    request("ACTIVATED"),
                ),
                *each("round", "0", "2", "-1"),
                *times("voted_at"),
                {
                    "setup": f"""UPDATE releases_activationrequest SET created_at = now() - interval '2 hours',
                        expires_at = now() WHERE id = {request("OPEN")}"""
                },
            ],
            "vote_once": each("voter_id", person("ann")),
            "vote_decision_known": each("decision", "'perhaps'", "''"),
        },
        each("decision", "'refuse'"),
        free="actor comment",
    ),
    NewRow(
        "releases_activation",
        {
            "pipeline_id": pipeline(),
            "sequence": "2",
            "release_id": release("0.5"),
            "previous_id": ACTIVE,
            "kind": "'activation'",
            "actor": "''",
            "reason": "'why'",
            "override": "false",
            "request_id": NEW,
        },
        {
            "activation_as_approved": [
                *each("request_id", request("APPROVED"), request("OPEN"), request("ACTIVATED")),
                *each("release_id", ACTIVE),
                *each("setup", APPROVALS, but("status = 'OPEN'"), but("base_id = NULL"), but(LATER)),
            ],
            "activation_approved": [{"request_id": "NULL", "setup": APPROVALS}],
            "activation_override_allowed": [{"request_id": "NULL", "override": "true"}],
            "activation_override_says_why": [
                *(
                    {"request_id": "NULL", "override": "true", **change, "setup": OVERRIDES}
                    for change in blanks("reason")
                ),
            ],
            "activation_completes_request": [
                {"script": CARRIED_OUT.rsplit(";", 1)[0]},
            ],
        },
        [{"request_id": "NULL", "override": "true", "script": CARRIED_OUT.rsplit(";", 1)[0], "setup": OVERRIDES}],
        script=CARRIED_OUT,
        setup=approved(),
    ),
    NewRow(
        "releases_activation",
        {
            "pipeline_id": pipeline(),
            "sequence": "2",
            "release_id": ACTIVE,
            "previous_id": ACTIVE,
            "kind": "'gradual'",
            "candidate_id": release("0.5"),
            "share": "5",
            "gradual_id": GRADUAL,
            "actor": "''",
            "reason": "''",
            "request_id": NEW,
        },
        {
            "activation_as_approved": [
                {
                    "kind": "'activation'",
                    "release_id": release("0.5"),
                    **dict.fromkeys(("candidate_id", "share", "gradual_id"), "NULL"),
                },
                *each("setup", but("plan = NULL"), but(f"release_id = {ACTIVE}"), but("status = 'OPEN'")),
                *each("setup", *(but(f"plan = {PLAN.replace(*other)}") for other in OTHERWISE_PLANNED)),
            ],
            "activation_approved": [{"request_id": "NULL", "setup": APPROVALS}],
        },
        each("setup", but(f"plan = {PLAN.replace('5', '5.0')}")),
        script=CARRIED_OUT,
        setup=f"{approved(plan=PLAN)}; {STARTED}",
    ),
]
