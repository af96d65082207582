from tests.invariants.new_rows import OTHER_TIMES, NewRow, digest, either, one_line, pipeline, release, tenant
from tests.invariants.new_rows_of_releases import (
    ACTIVE,
    IN_OTHER_PIPELINE,
    NOT_REGISTERED,
    OTHER_PIPELINE,
    PIPELINE,
    RELEASE,
    paused,
    status_of,
)
from tests.invariants.rows import GRADUAL_PIPELINE

ASKED_PIPELINE = "org.example.asked"
CANDIDATE = release("0.5")
NEW_GRADUAL = "'00000000-0000-4000-8000-0000000000a1'::uuid"
NEW_REQUEST = "'00000000-0000-4000-8000-00000000000a'::uuid"
PLAN = """'{"steps": [{"share": 5}], "groups": {}, "bounds": {}}'"""
OTHERWISE_PLANNED = [
    "plan = " + PLAN.replace(planned, other)
    for planned, other in (
        ("5", "6"),
        ('groups": {}', 'groups": {"tags": ["x"]}'),
        ('bounds": {}', 'bounds": {"x": 1}'),
    )
]
APPROVALS = f"UPDATE releases_pipeline SET approvals = 1 WHERE id = {pipeline()}"
OVERRIDES = f"UPDATE releases_pipeline SET approvals = 1, emergency_override = true WHERE id = {pipeline()}"
NO_CANDIDATE = "candidate_id = NULL & share = NULL"


def pointer(tenant: str = "owner") -> str:
    return f"(SELECT activation_id FROM releases_pipeline WHERE id = {pipeline(tenant)})"


def moved(tenant: str = "owner") -> str:
    """Return the statement that points the pipeline to the newest activation."""
    newest = "(SELECT max(id) FROM releases_activation)"
    return f"UPDATE releases_pipeline p SET activation_id = {newest} WHERE id = {pipeline(tenant)}"


def of_gradual(version: str) -> str:
    """Return a release of the pipeline whose gradual activation of 5.0 is running, next to 2.0."""
    return release(version, "owner", GRADUAL_PIPELINE)


def gradual_of(status: str) -> str:
    return f"(SELECT id FROM releases_gradualactivation WHERE status = '{status}' AND id <> {NEW_GRADUAL})"


def person(name: str) -> str:
    return f"(SELECT id FROM auth_user WHERE username = '{name}')"


def request(status: str) -> str:
    chosen = f"status = '{status}' AND pipeline_id = {pipeline('owner', ASKED_PIPELINE)}"
    return f"(SELECT id FROM releases_activationrequest WHERE {chosen})"


def but(change: str) -> str:
    return f"UPDATE releases_activationrequest SET {change} WHERE id = {NEW_REQUEST}"


def pointing(share: str = "5", kind: str = "gradual", candidate: str = CANDIDATE) -> str:
    """Return the statements that route the executions of the pipeline, as the new gradual activation says."""
    return one_line(f"""INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, candidate_id, share, gradual_id, actor, reason)
        SELECT {pipeline()}, 2, {ACTIVE}, {ACTIVE}, '{kind}', {candidate}, {share}, {NEW_GRADUAL}, '', ''; {moved()}""")


def deployed(release_id: str) -> str:
    """Return the columns of a deployment of the release."""
    digest = f"(SELECT descriptor_digest FROM releases_release WHERE id = {release_id})"
    return f"release_id = {release_id} & descriptor_digest = {digest}"


REVOKED = status_of("0.5", "REVOKED")
ACTIVATION = f"pipeline_id = {pipeline()} & sequence = 2 & previous_id = {ACTIVE}"
RETURNS = "sequence = 3 & setup = " + one_line(f"""
    UPDATE releases_activation SET release_id = {CANDIDATE} WHERE pipeline_id = {pipeline()};
    INSERT INTO releases_activation (pipeline_id, sequence, release_id, previous_id, kind, actor, reason, activated_at)
    SELECT {pipeline()}, 2, {ACTIVE}, {CANDIDATE}, 'activation', '', '', now()""")
"""Makes the new activation, of 0.5, a return: 0.5 was active before the active release."""
GRADUAL = NewRow(
    "releases_gradualactivation",
    f"""
        id = {NEW_GRADUAL} & pipeline_id = {pipeline()} & baseline_id = {ACTIVE} & candidate_id = {CANDIDATE}
        steps = '[{{"share": 5}}, {{"share": 50}}]'::jsonb & status = 'RUNNING'
    """,
    f"""
        gradual_activation_own_releases: pipeline_id = {pipeline("rival")} | {pipeline(name=OTHER_PIPELINE)} | 0
        baseline_id = {CANDIDATE} | {release("0.1")} | 0
        candidate_id = {NOT_REGISTERED} | {ACTIVE} | {of_gradual("2.0")} | {release("1.0", "rival")} | 0
        gradual_activation_starts: step = 1
        status = 'PROMOTED' | 'WITHDRAWN' | 'REPLACED'
            & cause = 'person' & ended_by = '' & end_reason = 'x' & ended_at = now()
        gradual_activation_has_its_step: steps = '[]'::jsonb | '{{}}'::jsonb | '1'::jsonb
        gradual_activation_routes: script = {{insert}} | {{insert}}; {pointing("6")} | {{insert}}; {pointing("50")}
        script = {{insert}}; {pointing("NULL", "withdrawal", "NULL")}
    """,
    script=f"{{insert}}; {pointing()}",
)
REQUEST = NewRow(
    "releases_activationrequest",
    f"""
        id = {NEW_REQUEST} & pipeline_id = {pipeline()} & release_id = {CANDIDATE} & base_id = {pointer()}
        policy = '{{"approvals": 0}}' & round = 1 & moved = '[]' & requester_id = {person("cat")} & reason = 'why'
        operation_key = 'new' & expires_at = now() + interval '1 hour' & status = 'APPROVED'
    """,
    f"""
        activation_request_starts: created_at = {OTHER_TIMES}
        status_changed_at = {OTHER_TIMES}
        status = 'OPEN' | 'ACTIVATED' | 'REFUSED' | 'EXPIRED'
        policy = '{{"approvals": 1}}' & setup = {APPROVALS}
        round = 2
        moved = '[1]'
        activation_request_own_release: release_id = {NOT_REGISTERED} | {IN_OTHER_PIPELINE} | {release("1.0", "rival")}
        pipeline_id = {pipeline("rival")}
        activation_request_of_present: base_id = NULL | {pointer("rival")}
        policy = '{{}}' | '{{"approvals": 1}}' | '{{"approvals": "0"}}'
        setup = {APPROVALS}
    """,
)
EXPIRED = one_line(f"""UPDATE releases_activationrequest SET created_at = now() - interval '2 hours', expires_at = now()
    WHERE id = {request("OPEN")}""")
CARRIED_OUT = "{insert}; " + moved() + "; " + but("status = 'ACTIVATED', status_changed_at = now()")
ACTIVATIONS = [
    GRADUAL,
    REQUEST,
    NewRow(
        "releases_activation",
        f"{ACTIVATION} & release_id = {CANDIDATE} & kind = 'activation' & operation_key = 'new'",
        f"""
            activation_kind_of_history: kind = 'rollback' & reason = 'why' & release_id = {CANDIDATE} | {ACTIVE}
            {RETURNS}
            activation_own_release: release_id = {NOT_REGISTERED} | {IN_OTHER_PIPELINE} | {release("1.0", "rival")} | 0
            pipeline_id = {pipeline("rival")}
            activation_in_sequence: sequence = 0 | 1 | 3 | -1
            previous_id = NULL | {CANDIDATE} | {release("0.1")} | {IN_OTHER_PIPELINE}
        """,
        f"""
            operation_key = NULL
            release_id = {ACTIVE}
            kind = 'rollback' & reason = 'why' & {RETURNS}
            setup = UPDATE releases_activation SET operation_key = 'new' WHERE pipeline_id = {pipeline("rival")}
        """,
        script=f"{{insert}}; {moved()}",
    ),
    NewRow(
        "releases_activation",
        f"""
            pipeline_id = {pipeline("other")} & sequence = 1 & release_id = {release("9", "other")}
            kind = 'activation'
        """,
        f"""
            activation_in_sequence: sequence = 0 | 2 | -1
            previous_id = {release("9", "other")} | {ACTIVE} | 0
            activation_kind_of_history: kind = 'rollback' & reason = 'why'
            activation_moves_pointer: script = {{insert}}
        """,
        setup=PIPELINE.statement()
        + "; "
        + RELEASE.statement(f"pipeline_id = {pipeline('other')} & status = 'REGISTERED'"),
        script=f"{{insert}}; {moved('other')}",
    ),
    NewRow(
        "releases_activation",
        f"{ACTIVATION} & release_id = {ACTIVE} & kind = 'gradual' & candidate_id = {CANDIDATE} & share = 5 & "
        f"gradual_id = {NEW_GRADUAL}",
        f"""
            activation_kind_of_history: release_id = {CANDIDATE} & kind = 'gradual' | 'withdrawal'
            kind = 'promotion' & {NO_CANDIDATE}
            activation_of_gradual: gradual_id = {gradual_of("RUNNING")} | {gradual_of("WITHDRAWN")} | gen_random_uuid()
            candidate_id = {ACTIVE} | {release("0.1")} | {of_gradual("5.0")} | 0
            activation_routes: share = 0 | 6 | 100
            kind = 'withdrawal' & {NO_CANDIDATE}
            kind = 'promotion' & release_id = {CANDIDATE} & {NO_CANDIDATE}
            kind = 'activation' & gradual_id = NULL & {NO_CANDIDATE}
        """,
        setup=GRADUAL.statement("script = {insert}"),
        script=f"{{insert}}; {moved()}",
    ),
    NewRow(
        "releases_activation",
        f"{ACTIVATION} & release_id = {CANDIDATE} & kind = 'activation' & reason = 'why' & request_id = {NEW_REQUEST}",
        f"""
            activation_as_approved: request_id = {request("APPROVED")} | {request("OPEN")} | {request("ACTIVATED")}
            release_id = {ACTIVE}
            setup = {APPROVALS} | {but("status = 'OPEN'")} | {but("base_id = NULL")}
            setup = {but("activate_at = now() + interval '1 hour'")}
            activation_approved: request_id = NULL & setup = {APPROVALS}
            activation_override_allowed: request_id = NULL & override = true
            activation_completes_request: script = {{insert}}; {moved()}
        """,
        f"request_id = NULL & override = true & script = {{insert}}; {moved()} & setup = {OVERRIDES}",
        setup=REQUEST.statement(),
        script=CARRIED_OUT,
    ),
    NewRow(
        "releases_activation",
        f"{ACTIVATION} & release_id = {ACTIVE} & kind = 'gradual' & candidate_id = {CANDIDATE} & share = 5 & "
        f"gradual_id = {NEW_GRADUAL} & request_id = {NEW_REQUEST}",
        f"""
            activation_as_approved: kind = 'activation' & release_id = {CANDIDATE} & gradual_id = NULL & {NO_CANDIDATE}
            setup = {but("plan = NULL")} | {but(f"release_id = {ACTIVE}")} | {but("status = 'OPEN'")}
            setup = {either(map(but, OTHERWISE_PLANNED))}
            activation_approved: request_id = NULL & setup = {APPROVALS}
        """,
        "setup = " + but(f"plan = {PLAN.replace('5', '5.0')}"),
        setup=f"{REQUEST.statement(f'plan = {PLAN}')}; "
        + GRADUAL.statement("""steps = '[{"share": 5}]' & script = {insert}"""),
        script=CARRIED_OUT,
    ),
    NewRow(
        "releases_vote",
        f"request_id = {request('OPEN')} & round = 1 & voter_id = {person('bob')} & decision = 'approve'",
        f"""
            vote_of_another_person: voter_id = {person("cat")}
            vote_in_open_round: request_id = {either(map(request, ("APPROVED", "REFUSED", "WITHDRAWN", "ACTIVATED")))}
            request_id = {request("EXPIRED")} | {request("FAILED")}
            round = 0 | 2 | -1
            voted_at = {OTHER_TIMES}
            setup = {EXPIRED}
        """,
    ),
    NewRow(
        "releases_revocation",
        f"release_id = {CANDIDATE} & reason = 'why' & open_executions = 'leave'",
        f"""
            revocation_starts: revoked_at = {OTHER_TIMES}
            open_executions = 'fail' & failed_executions = 1
            open_executions = 'fail' & completed_at = now()
            revocation_of_revoked: release_id = {release("0.2")} | {release("0.3")} | {release("0.4")} | {ACTIVE}
            revocation_pauses_release: open_executions = 'pause'
            open_executions = 'pause' & script = {REVOKED}; {{insert}}; {paused("pipeline", pipeline())}
        """,
        script=f"{REVOKED}; {{insert}}",
    ),
    NewRow(
        "releases_retirement",
        f"release_id = {CANDIDATE} & reason = 'why'",
        f"""
            retirement_starts: retired_at = {OTHER_TIMES}
            retirement_of_retired: release_id = {release("0.1")} | {release("0.2")} | {release("0.3")} | {ACTIVE}
        """,
        script=f"{status_of('0.5', 'RETIRED')}; {{insert}}",
    ),
    NewRow(
        "releases_deployment",
        f"{deployed(CANDIDATE)} & idempotency_key = 'new' & application = 'orders' & environment = 'production'",
        f"""
            deployment_starts: created_at = {OTHER_TIMES}
            deployment_of_verified_release: {deployed(release("0.2"))}
            {deployed(release("0.3"))}
            {deployed(release("0.4"))}
            {deployed(IN_OTHER_PIPELINE)}
            release_id = 0
            release_id = {ACTIVE}
            {deployed(release("1.0", "rival"))}
                & setup = UPDATE releases_pipeline SET application = 'orders' WHERE id = {pipeline("rival")}
            tenant_id = {tenant("rival")} | {tenant("other")} | 0
            application = 'other' | 'Orders' | ''
            descriptor_digest = {digest("x")} | ''
        """,
    ),
]
