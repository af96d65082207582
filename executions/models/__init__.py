"""The tables of executions, their history, awaits, workers, campaigns and schedules."""

from executions.models.awaits import IS_CLAIMED, IS_QUESTION, AwaitUnit, Interaction, InteractionEvent
from executions.models.campaign import Campaign, CampaignBatch, CampaignEvent, CampaignItem, StartFrom
from executions.models.dead_letter import DeadLetter
from executions.models.execution import (
    CLAIMED,
    DUE_VALUES,
    LIVE_VALUES,
    LONGEST_TAG,
    MOST_TAGS,
    PAYLOADS,
    PAYLOADS_OF_EXECUTION,
    PERSON,
    RESUBMISSION_PREFIX,
    TERMINAL_VALUES,
    Execution,
    ExecutionEvent,
    FinishedCount,
    WireForm,
    read_business_keys,
)
from executions.models.records import (
    AdmissionReceipt,
    FailureGroup,
    Hold,
    Notification,
    Resubmission,
    SearchValue,
    SmokeTest,
    is_new,
)
from executions.models.schedule import Schedule, ScheduleFire
from executions.models.step_reports import FailedItems, ItemGroup, StepReport
from executions.models.worker import (
    CodeOrigin,
    MessagePath,
    OutcomePath,
    Worker,
    WorkerEligibility,
    WorkerEvent,
    WorkerKeyChange,
)
