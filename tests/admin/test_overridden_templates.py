"""Templates that override those of unfold fit its version: compare them when one of its templates changes."""

import hashlib
from pathlib import Path

import unfold

from embedded.product import PROJECT

ORIGINALS = Path(unfold.__file__).parent / "templates"
OURS = PROJECT / "templates"
# The digests of unfold's templates that ours were written for.
KNOWN = {
    "admin/base.html": "2ce9250b3c649e3a",
    "admin/change_list.html": "5885c39760f6085d",
    "admin/filter.html": "0c4cab2e0096ba77",
    "admin/index.html": "9fdb849b7da18ccd",
    "admin/search_form.html": "32c57965802858bd",
    "unfold/helpers/add_link.html": "36cc86e42047e012",
    "unfold/helpers/app_list.html": "6ab83ac498b2f50f",
    "unfold/helpers/change_list_filter.html": "9606a6123fb48b05",
    "unfold/helpers/command.html": "ae6ce324d8536613",
    "unfold/helpers/empty_results.html": "5f4727a37a99da76",
    "unfold/helpers/header_title.html": "b126ed2ab9ca1680",
    "unfold/helpers/navigation_header.html": "35139b9d94580be9",
    "unfold/helpers/navigation_user.html": "4c9ba58b3f215326",
    "unfold/helpers/pagination_infinite.html": "a513e92f9a277a97",
    "unfold/helpers/search.html": "91996c27181d14ad",
    "unfold/helpers/theme_switch.html": "c8e659df65f5aa78",
    "unfold/helpers/welcomemsg.html": "e8eab02522ba2319",
    "unfold/layouts/unauthenticated.html": "768501529f1a8dae",
}


def test_the_overridden_templates_of_unfold_are_those_that_ours_were_written_for() -> None:
    overridden = [
        path.relative_to(OURS) for path in OURS.rglob("*.html") if (ORIGINALS / path.relative_to(OURS)).exists()
    ]
    digests = {str(path): hashlib.sha256((ORIGINALS / path).read_bytes()).hexdigest()[:16] for path in overridden}
    assert digests == KNOWN
