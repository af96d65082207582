"""Holds: pauses of an execution, a release or a pipeline."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions.models.execution import Execution
from releases.models import Pipeline, Release
from tenancy.models import Tenant

EXECUTION = Q(execution__isnull=False, release__isnull=True, pipeline__isnull=True)
RELEASE = Q(execution__isnull=True, release__isnull=False, pipeline__isnull=True)
PIPELINE = Q(execution__isnull=True, release__isnull=True, pipeline__isnull=False)
OPEN = Q(ended_at__isnull=True)


class Hold(models.Model):
    """A pause of one execution, release or pipeline: no due work of its target is claimed while the hold is open.

    Holds are append-only. An open hold ends once; afterwards it never changes. A target has at most one open hold. With
    `refuses_submissions`, the hold of a release or a pipeline also refuses new executions. The database sets both
    times.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="holds", db_index=False)
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, null=True, related_name="holds", db_index=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="holds", db_index=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, null=True, related_name="holds", db_index=False)
    reason = models.CharField(max_length=1000)
    refuses_submissions = models.BooleanField(default=False)
    started_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, null=True)
    end_reason = models.CharField(max_length=1000, null=True)

    class Meta:
        verbose_name = "pause"
        ordering = ("-started_at", "-id")
        constraints = (
            models.CheckConstraint(condition=EXECUTION | RELEASE | PIPELINE, name="hold_has_one_target"),
            models.CheckConstraint(
                condition=Q(refuses_submissions=False) | Q(execution__isnull=True), name="hold_refuses_submissions"
            ),
            models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="hold_says_why"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by__isnull=True, end_reason__isnull=True)
                | Q(ended_at__isnull=False, ended_by__isnull=False, end_reason__isnull=False),
                name="hold_end_is_complete",
            ),
            models.UniqueConstraint(fields=("execution",), condition=OPEN, name="hold_of_execution_once"),
            models.UniqueConstraint(fields=("release",), condition=OPEN, name="hold_of_release_once"),
            models.UniqueConstraint(fields=("pipeline",), condition=OPEN, name="hold_of_pipeline_once"),
        )
        indexes = (
            models.Index(fields=("tenant", "-started_at", "-id"), condition=OPEN, name="hold_newest"),
            # The removal of an execution checks that no hold refers to it.
            models.Index(fields=("execution",), condition=Q(execution__isnull=False), name="hold_of_execution"),
        )

    def __str__(self) -> str:
        return f"hold {self.pk}"

    @property
    def pipeline_name(self) -> str:
        """The `pipeline_id` of the pipeline that the target belongs to."""
        if self.execution is not None:
            return self.execution.pipeline_id
        pipeline = self.pipeline if self.release is None else self.release.pipeline
        assert pipeline is not None  # noqa: S101 - a constraint requires one target
        return pipeline.pipeline_id

    @property
    def release_version(self) -> str | None:
        """The release of the target; None if the target is a pipeline."""
        of = self.execution or self.release
        return of.release_version if of is not None else None
