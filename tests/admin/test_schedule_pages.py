from django.test import Client

from executions.models import Execution, Schedule
from executions.schedules import backfills, firing
from tests import making
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.making import LONG_AGO

FIELDS = {
    **{"pipeline": "acme.orders", "name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"},
    **{"input": '{"n": 1}', "overlap": "skip", "catch_up_minutes": "60", "exceptions": "2026-12-24\n2026-12-26"},
}


def test_a_schedule_is_previewed_added_and_changed(operator: Client, acme: World) -> None:
    fields = {"tenant": acme.tenant.pk, **FIELDS}
    shown = operator.post(to("executions_schedule_new"), {**fields, "preview": "1"}).text
    assert ("At 02:30 every day" in shown, shown.count(", 02:30 CE")) == (True, 5)
    for changes, text in (({"cron": "0 25 * * *"}, "SCHEDULE_INVALID"), ({"input": "{"}, "INVALID_REQUEST")):
        assert text in operator.post(to("executions_schedule_new"), {**fields, **changes}).text
    assert not Schedule.objects.exists()
    operator.post(to("executions_schedule_new"), fields)
    schedule = Schedule.objects.get()
    assert (schedule.template, schedule.exceptions) == ({"n": 1}, ["2026-12-24", "2026-12-26"])
    edit = to("executions_schedule_edit", schedule)
    assert "2026-12-24" in operator.get(edit).text
    operator.post(edit, {**FIELDS, "exceptions": "", "name": "daily"})
    schedule.refresh_from_db()
    assert (schedule.name, schedule.exceptions, schedule.created_by) == ("daily", [], "user:operator")


def test_a_backfill_is_counted_first_and_its_executions_lead_to_the_schedule(operator: Client, acme: World) -> None:
    schedule = making.scheduled(acme.tenant, pipeline_id="acme.orders")
    form, day = to("executions_schedule_backfill", schedule), {"first": "2026-01-01 00:00", "end": "2026-01-02 00:00"}
    assert "The range has 1 times. 1 of them would be submitted" in operator.post(form, {**day, "preview": "1"}).text
    assert not schedule.fires.exists()
    operator.post(form, day)
    assert backfills.backfill(schedule, LONG_AGO, LONG_AGO.replace(day=2), actor="user:x").added == 0
    firing.fire()
    execution = Execution.objects.get(submitted_by="schedule:nightly")
    assert f"{execution.pk}" in operator.get(to("executions_schedule_change", schedule)).text
    page = operator.get(to("executions_execution_change", execution)).text
    assert to("executions_schedule_change", schedule) in page
