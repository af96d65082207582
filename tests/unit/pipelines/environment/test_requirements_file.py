"""Requirements files become locks: exact, portable and without secrets."""

import pytest

from pipelines import DefinitionError
from pipelines.environment.lock import Locked, locked
from pipelines.environment.requirements_file import lock_in_requirements
from tests.cases import cases

HASH = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


@cases(
    ("text", "lock"),
    {
        "spaces": ("  idna == 3.10  ", "idna==3.10"),
        "a name that is not normalised": ("Ruamel_YAML.clib==1", "ruamel-yaml-clib==1"),
        "extras": ("celery[sqs, redis]==5.7", "celery[redis,sqs]==5.7"),
        "a marker": (
            "colorama==0.4 ; sys_platform=='win32'",
            'colorama==0.4 ; sys_platform == "win32"',
        ),
        "hashes in further lines": (
            f"a==1 \\\n    --hash={HASH} \\\n    --hash={OTHER}",
            f"a==1 --hash={HASH} --hash={OTHER}",
        ),
        "comments": ("# made on /home/me\n\na==1  # via b\n    # via c\n", "a==1"),
        "a comment after a continuation": (f"a==1 \\\n  --hash={HASH}  # via b", f"a==1 --hash={HASH}"),
        "an editable distribution": ("-e .\n--editable=./lib\n-e git+https://host/x#egg=x\na==1", "a==1"),
        "options about the installation": (
            "--index-url https://me:secret@host/simple\n-f /home/me/wheels\n--require-hashes\n--no-binary=:all:\na==1",
            "a==1",
        ),
        "a URL": ("a @ https://host/a-1.tar.gz", "a @ https://host/a-1.tar.gz"),
        "a local wheel": ("./wheels/Some_thing-1.0-py3-none-any.whl", "some-thing==1.0"),
        "any order and line ends": ("b==2\r\na==1\r\n", "a==1\nb==2"),
    }.values(),
)
def test_a_requirement_becomes_one_line_that_can_be_read_again(text: str, lock: str) -> None:
    expected = f"{lock}\n" if lock else ""
    assert lock_in_requirements(text, "r.txt") == expected
    assert lock_in_requirements(expected, "requirements.lock") == expected
    assert list(locked(expected)) is not None


@cases(
    ("text", "line", "says"),
    {
        "no version": ("a==1\nb", 2, "'b' does not lock one distribution: it has no exact version"),
        "a prefix": ("a==1.*", 1, "no exact version"),
        "a wrong marker": ("a==1 ; colour == 'red'", 1, "a==1 ; colour"),
        "a line after a continued one": (f"a==1 \\\n --hash={HASH}\nb", 3, "'b'"),
        "another file": ("-r other.txt", 1, "write all requirements into one file"),
        "a wrong hash": ("a==1 --hash=md5", 1, "--hash is not supported"),
        "a local folder with a name": ("a @ file:///home/me/a", 1, "other machines do not have this local file"),
        "a password": ("a @ https://me:secret@host/a-1.tar.gz", 1, "contains a password"),
    }.values(),
)
def test_what_is_not_exact_and_portable_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        lock_in_requirements(text, "folder/r.txt")
    assert raised.value.code == "INVALID_LOCK"
    assert raised.value.message.startswith(f"folder/r.txt, line {line}: ")
    assert says in raised.value.message
    assert "secret" not in str(raised.value)
    assert "token" not in str(raised.value)


def test_a_lock_is_read_for_this_interpreter() -> None:
    lock = f'a==1 --hash={HASH}\nb[x]==2 ; os_name == "none"\nc @ https://h/c ; python_version >= "3"\nd===1.0+x\n'
    assert [(each.name, each.version) for each in locked(lock)] == [("a", "1"), ("c", ""), ("d", "1.0+x")]
    assert next(iter(locked("Ab_c==1\n"))) == Locked("Ab_c==1", "ab-c", "1")
