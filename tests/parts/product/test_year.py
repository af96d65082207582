"""A year of one pipeline with real processes. At the end, the history answers who did what, when and why."""

from pathlib import Path

from tests.parts.product.year.acts import ACTS
from tests.parts.product.year.questions import QUESTIONS
from tests.parts.product.year.story import Year
from tests.running import RunningProduct, TenantInUse


def test_a_year_of_one_pipeline(running: RunningProduct, tenant: TenantInUse, tmp_path: Path) -> None:
    year = Year.begin(running, tenant, tmp_path)
    for act in ACTS:
        act(year)
    for question in QUESTIONS:
        question(year)
