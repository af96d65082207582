from datetime import timedelta

from django.utils import timezone

from executions.models import FinishedCount
from releases.models import Release


def counted(release: Release, succeeded: int, failed: int, **ago: float) -> None:
    """Count executions that finished in the minute that is so long `ago`, such as `hours=5`."""
    minute = (timezone.now() - timedelta(**ago)).replace(second=0, microsecond=0)
    FinishedCount.objects.create(release=release, minute=minute, succeeded=succeeded, failed=failed, cancelled=1)
