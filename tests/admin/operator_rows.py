from typing import Any

from django.utils import timezone

from alerts import deliveries, evaluation
from alerts.models import Alert, AlertChannel
from executions.models import Campaign, DeadLetter, Execution, Interaction
from governance.campaigns import campaigns, drafts
from governance.campaigns.selection import Filters
from releases.models import Pipeline
from tests import making
from tests.admin.conftest import World
from tests.alerts import alerting
from wire.messages.celery_messages import Outcome


def pipeline_of(world: World) -> str:
    return world.release.pipeline.pipeline_id


def question(world: World, key: str = "asks", **members: Any) -> Interaction:
    """Return the first question of a new execution. `members` are those of the suspension."""
    made = making.execution(world.tenant, key, pipeline_id=pipeline_of(world))
    claims = {claim.execution_id: claim for claim in making.claimed(world.tenant)}
    record(world, making.suspension(claims[made.pk], **members))
    return Interaction.objects.filter(execution=made).order_by("item_index")[0]


def dead(world: World, *keys: str, **members: Any) -> list[Execution]:
    """Return new failed executions, each with a dead letter. `members` are those of the failure."""
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(retry_limit=0)
    made = [making.execution(world.tenant, key, pipeline_id=pipeline_of(world)) for key in keys]
    claims = {claim.execution_id: claim for claim in making.claimed(world.tenant)}
    record(world, *[making.failure(claims[execution.pk], **members) for execution in made])
    return list(Execution.objects.filter(pk__in=[execution.pk for execution in made]).order_by("execution_key"))


def letter(execution: Execution) -> DeadLetter:
    return DeadLetter.objects.get(execution=execution)


def campaign(world: World, **members: Any) -> Campaign:
    arguments = {"reason": "the bank is back", "rate_per_minute": 60, "actor": "user:ann", **members}
    return campaigns.start(world.tenant, Filters(pipeline_id=pipeline_of(world)), **arguments)


def draft(world: World, kind: Campaign.Kind = Campaign.Kind.REDRIVE, **members: Any) -> Campaign:
    return drafts.freeze(world.tenant, kind, Execution.objects.all(), actor="user:ann", **members)


def channel(world: World) -> AlertChannel:
    """Return a channel of the tenant, with a message."""
    channel = AlertChannel.objects.filter(tenant=world.tenant, removed_at=None).first()
    if channel is None:
        channel = alerting.channel(world.tenant, "https://receiver.example/hook", f"channel-of-{world.tenant.slug}")
        deliveries.test(channel, actor="user:test")
    return channel


def alert(world: World, name: str = "") -> Alert:
    """Return an alert of the tenant, with its rule. The world's worker is lost and alive again; others may be lost."""
    name = name or f"rule-of-{world.tenant.slug}"
    raised = Alert.objects.filter(rule__name=name, tenant=world.tenant).first()
    if raised is None:
        rule = alerting.rule(world.tenant, "workerLost", channel(world), name=name, thresholds={"minutes": 0})
        making.silence(world.worker)
        evaluation.evaluate_rule(rule)
        making.silence(world.worker, since=timezone.now())
        [raised, *_] = Alert.objects.select_related("rule").filter(rule=rule)
    return raised


def record(world: World, *outcomes: Outcome) -> None:
    assert making.record(*outcomes) == len(outcomes)
