from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from tenancy.models import AuditEntry

pytestmark = pytest.mark.django_db
GOOD = "correct-horse-battery-staple"
WEAK = ["short-One-7", "abcabcabcabc", "917364528190", "password1234", "adaLovelace-1815"]


def ada(**attributes: Any) -> User:
    return User(username="adalovelace1815", email="ada.lovelace@example.org", is_staff=True, **attributes)


def test_only_weak_passwords_are_refused_and_the_help_mentions_api_tokens() -> None:
    for password in WEAK:
        with pytest.raises(ValidationError):
            validate_password(password, ada())
    validate_password(GOOD, ada())
    assert any("API tokens" in text for text in password_validators_help_texts())


def test_the_command_refuses_a_weak_password_and_accepts_a_good_one_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", WEAK[-1])
    with pytest.raises(CommandError):
        call_command("createsuperuser", "--username=adalovelace1815", "--email=ada.lovelace@example.org", "--noinput")
    assert not User.objects.exists()

    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", GOOD)
    call_command("createsuperuser", "--username=ada", "--email=", "--noinput", verbosity=0)
    assert User.objects.get(username="ada").check_password(GOOD)
    monkeypatch.delenv("DJANGO_SUPERUSER_PASSWORD")
    call_command("createsuperuser", "--username=eva", "--email=", "--noinput", verbosity=0)
    assert not User.objects.get(username="eva").has_usable_password()


def test_a_password_that_a_command_changes_leaves_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.create_user("ada")
    monkeypatch.setattr("getpass.getpass", lambda prompt: GOOD)
    call_command("changepassword", "ada", stdout=StringIO())
    assert User.objects.get().check_password(GOOD)
    entry = AuditEntry.objects.latest("id")
    assert (entry.act, entry.actor, entry.object) == ("user.password", "coordinator changepassword", "ada")
