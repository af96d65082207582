import pytest

from docs import generate
from tests.docs.commands import text_of


@pytest.mark.parametrize("page", generate.PAGES)
def test_each_generated_page_is_up_to_date(page: str) -> None:
    assert text_of(f"docs/{page}") == generate.text_of(page), "run python -m docs.generate"
