import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from releases.artifacts import retention
from releases.artifacts.store import artifact_store
from releases.models import Blob, Pipeline, Release
from releases.registration.progress import Progress, Step
from releases.registration.verification import resolve
from releases.states import Status
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.maven_repository import Fault, MavenRepository, maven_repository
from tests.releases.registration import located
from tests.releases.registration.located import verdict
from wire.documents.descriptor import NAMES_PROFILE
from wire.findings import Finding

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_is_left")]

JAR = making.archive(located.CONTRACT, code=secrets.token_hex(8))
DIGEST = making.digest_of(JAR)
URI = "maven:com.acme:app:1.2.3"
PATH = "/com/acme/app/1.2.3/app-1.2.3.jar"
DOCUMENT = located.descriptor(located.artifact(JAR))
NOT_LONG = timedelta(0)


@pytest.fixture
def repository(settings: Any) -> Iterator[MavenRepository]:
    with maven_repository() as made:
        made.publish(URI, JAR)
        made.configure(settings)
        yield made


def uploaded(owner: Tenant | None = None, document: dict[str, Any] = DOCUMENT, *files: bytes) -> Release:
    return making.upload(owner or making.tenant(), document, *files).release


def lenient(owner: Tenant | None = None) -> Release:
    owner = owner or making.tenant()
    Pipeline.objects.create(tenant=owner, pipeline_id=making.PIPELINE, missing_artifacts="identity-only")
    return uploaded(owner)


def resolved(release: Release, repository: MavenRepository, act: Callable[[], object]) -> list[Finding]:
    """Call `act` once, while the download runs."""
    due = [act]

    def renew() -> None:
        if repository.requests and due:
            due.pop()()

    return resolve(release, renew, Progress(release.pk))[0]


def blobs(release: Release) -> list[str | None]:
    return list(release.artifacts.values_list("blob", flat=True))


def test_downloaded_bytes_are_stored_under_their_digest_for_the_tenant(repository: MavenRepository) -> None:
    owner = making.tenant()
    release = uploaded(owner)
    assert blobs(release) == [None]
    assert verdict(release) == ("REGISTERED", [])
    assert release.contract is not None
    assert repository.paths == [PATH]
    blob = Blob.objects.get(pk=DIGEST)
    assert (blob.size, blob.state) == (len(JAR), "SOUND")
    assert (blobs(release), release.artifacts.get().resolved) == ([DIGEST], True)
    assert list(retention.orphans(NOT_LONG)) == []

    repository.status = 503
    next_release = uploaded(owner, located.descriptor(located.artifact(JAR), version="2.0"))
    assert blobs(next_release) == [DIGEST]
    assert verdict(next_release) == ("REGISTERED", [])
    assert blobs(uploaded()) == [None], "another tenant downloads the bytes itself"
    assert repository.paths == [PATH]


def test_artifacts_share_the_bytes_that_one_location_has_and_an_image_gets_none(repository: MavenRepository) -> None:
    copies = [located.artifact(JAR, name, stepIds=[], uri=URI.replace("app", name)) for name in ("copy", "more")]
    image = located.image(digest=DIGEST, uri=f"oci://registry.example/acme/app@{DIGEST}", stepIds=[])
    release = uploaded(None, located.descriptor(copies[0], located.artifact(JAR), copies[1], image))
    assert verdict(release) == ("REGISTERED", [])
    assert blobs(release) == [DIGEST, DIGEST, DIGEST, None]
    assert repository.paths.count(PATH) == 1
    assert not any("more" in path for path in repository.paths)


@cases(("status", "code"), [(404, "MAVEN_ARTIFACT_MISSING"), (None, "MAVEN_NOT_CONFIGURED")])
def test_missing_bytes_by_policy(repository: MavenRepository, settings: Any, status: int | None, code: str) -> None:
    repository.status = status
    if status is None:
        settings.MAVEN_REPOSITORIES = ()
    for release, expected, severity, missing in (
        (uploaded(), "REJECTED", "error", "ARTIFACT_FILE_MISSING"),
        (lenient(), "REGISTERED", "warning", "ARTIFACT_IDENTITY_ONLY"),
    ):
        findings = [(missing, severity, "artifacts[0]"), (code, severity, "artifacts[0].uri")]
        assert verdict(release) == (expected, findings)
        assert all(finding["message"].startswith(NAMES_PROFILE) for finding in release.findings)
        assert (release.contract, blobs(release)) == (None, [None])


def test_other_bytes_are_always_an_error(repository: MavenRepository) -> None:
    repository.publish(URI, b"other")
    for release in (uploaded(), lenient()):
        status, findings = verdict(release)
        assert status == "REJECTED"
        assert findings[-1] == ("MAVEN_ARTIFACT_OTHER_DIGEST", "error", "artifacts[0].uri")
        assert (blobs(release), artifact_store().stat(making.digest_of(b"other"))) == ([None], None)
    assert not Blob.objects.filter(pk__in=[DIGEST, making.digest_of(b"other")]).exists()


def test_an_unavailable_repository_gives_no_verdict_and_a_second_verification_does(repository: MavenRepository) -> None:
    release = lenient()
    for status, fault in ((503, None), (None, Fault.DAMAGED)):
        repository.status, repository.fault = status, fault
        assert verdict(release) == ("VERIFYING", [])
        assert blobs(release) == [None]
    repository.status = repository.fault = None
    assert verdict(release) == ("REGISTERED", [])
    assert blobs(release) == [DIGEST]


def test_a_refusal_is_certain_although_another_download_fails(repository: MavenRepository) -> None:
    repository.fault = Fault.DAMAGED
    unpublished = located.artifact(b"other", "other", stepIds=[])
    assert verdict(uploaded(None, located.descriptor(unpublished, located.artifact(JAR)))) == (
        "REJECTED",
        [
            ("MAVEN_ARTIFACT_MISSING", "error", "artifacts[0].uri"),
            ("MAVEN_REPOSITORY_UNAVAILABLE", "warning", "artifacts[1].uri"),
        ],
    )
    same_bytes = located.artifact(JAR, "other", stepIds=[])
    assert verdict(uploaded(None, located.descriptor(same_bytes, located.artifact(JAR)))) == ("VERIFYING", [])


def test_a_verdict_during_the_download_is_final(repository: MavenRepository) -> None:
    judge = Release.objects.filter(pk=uploaded().pk)
    judge.update(status=Status.VERIFYING)
    release = judge.select_related("pipeline").get()
    assert resolved(release, repository, lambda: judge.update(status="REJECTED")) == []
    assert blobs(release) == [None]
    assert not Blob.objects.filter(pk=DIGEST).exists()
    assert verdict(release) == ("REJECTED", [])
    assert [orphan.name for orphan in retention.orphans(NOT_LONG)] == [DIGEST]
    Progress(release.pk).checked(0, [])
    [place, state] = next(iter(judge.get().progress.items()))
    assert (place, state["step"], state["findings"]) == ("0", Step.FETCHING, []), "progress after the verdict goes"
