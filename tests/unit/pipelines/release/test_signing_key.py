"""Keys that sign releases, and `release --sign`, as an author uses them."""

import json
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope as Witness
from securesystemslib.signer import SSlibKey

from pipelines import DefinitionError
from pipelines.release import signing_key
from pipelines.release.descriptor import release
from pipelines.release.packaging import BuiltArtifact
from releases.states import AttachmentKind
from releases.trust.evidence import examine
from wire.documents import signing
from wire.documents.descriptor import parse_descriptor


@pytest.fixture
def dist(built: BuiltArtifact) -> Path:
    return built.path.parent


def refused(code: str, path: Path) -> str:
    with pytest.raises(DefinitionError) as caught:
        signing_key.load(path)
    assert caught.value.code == code
    return caught.value.message


def test_a_key_is_readable_only_by_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    made = signing_key.make(tmp_path / "ci.pem")
    assert made.private.stat().st_mode & 0o777 == 0o600
    key = signing_key.load(made.private)
    assert signing.read_public_key(made.public.read_text()) == key.public_key()
    assert made.key_id == signing.key_id(key.public_key())
    files = {made.private: made.private.read_bytes(), made.public: made.public.read_bytes()}
    for missing in files:
        for path, content in files.items():
            path.write_bytes(content)
        missing.unlink()
        with pytest.raises(DefinitionError, match="KEY_EXISTS"):
            signing_key.make(tmp_path / "ci.pem")
        assert {path: path.read_bytes() for path in files if path.exists()} == {
            path: content for path, content in files.items() if path != missing
        }


def test_a_passphrase_locks_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing_key.PASSPHRASE, "a secret of ours")
    made = signing_key.make(tmp_path / "ci.pem")
    assert made.encrypted
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in made.private.read_bytes()
    assert signing_key.load(made.private).public_key() == signing.read_public_key(made.public.read_text())
    monkeypatch.setenv(signing_key.PASSPHRASE, "another secret")
    assert "secret" not in refused("SIGNING_KEY_LOCKED", made.private)
    monkeypatch.delenv(signing_key.PASSPHRASE)
    assert signing_key.PASSPHRASE in refused("SIGNING_KEY_LOCKED", made.private)


def test_the_envelope_signs_the_exact_bytes_and_other_readers_of_dsse_accept_it(dist: Path, tmp_path: Path) -> None:
    keys = [signing_key.make(tmp_path / name) for name in ("a.pem", "b.pem")]
    written = release(dist, sign_with=[key.private for key in keys])
    assert written.envelope == dist / "pipeline-release.dsse.json"
    data, descriptor = written.envelope.read_bytes(), written.path.read_bytes()
    evidence = examine(data, parse_descriptor(descriptor))
    assert (evidence.kind, evidence.findings) == (AttachmentKind.SIGNATURE, ())
    witness = Witness.from_dict(json.loads(data))
    assert (witness.payload, witness.payload_type) == (descriptor, signing.RELEASE_TYPE)
    public = [signing.read_public_key(key.public.read_text()) for key in keys]
    others = [SSlibKey.from_crypto(each, signing.key_id(each)) for each in public]
    assert set(witness.verify(list(others), 2)) == {key.key_id for key in keys}
