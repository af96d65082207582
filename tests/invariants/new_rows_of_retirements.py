"""Valid new retirements, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, blanks, each, release, times

RETIREMENTS = [
    NewRow(
        "releases_retirement",
        {
            "release_id": release("0.5"),
            "actor": "''",
            "reason": "'why'",
            "given_up_failures": "0",
            "retired_at": "now()",
        },
        {
            "retirement_starts": times("retired_at"),
            "retirement_of_retired": each("release_id", *(release(each) for each in ("0.1", "0.2", "0.3", "1.0"))),
            "releases_retirement_release_id_key": each("release_id", release("0.7")),
            "retirement_says_why": blanks("reason"),
            "releases_retirement_given_up_failures_check": each("given_up_failures", "-1"),
        },
        each("given_up_failures", "3"),
        free="actor",
        script=f"UPDATE releases_release SET status = 'RETIRED' WHERE id = {release('0.5')}; {{insert}}",
    )
]
