"""Questions: the list of open questions, and the pages that show, claim, pass on and answer one."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import resolve, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions.awaits import claims, questions, reassignment, recipients
from executions.awaits.answer_form import AnswerForm, require_text
from executions.awaits.answer_types import described_types_of, request_type
from executions.awaits.present import OVERDUE, STATUSES, Present, is_claimed
from executions.console.payloads import bounded_json
from executions.console.question_filters import (
    AssigneeFilter,
    ClaimFilter,
    DeadlineFilter,
    GroupFilter,
    StatusFilter,
    StepFilter,
    TransportFilter,
)
from executions.console.question_list import QuestionList, QuestionMarks
from executions.models import PAYLOADS_OF_EXECUTION, Interaction
from executions.questions.readable import Readable, person, readable, telling_fields
from foundation.admin.columns import badge, column, cut
from foundation.errors import CoordinatorError
from releases.registration.pages import PipelineFilter
from tenancy.access import actor, tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import LongList, problem_of, serves
from tenancy.console.lists import TenantFilter, time
from tenancy.roles import Scope
from wire.documents.contract import AUTOMATIC

NOTHING = object()
"""Stands for an answer that is not shown before it is sent."""
MOST_NEXT = 200
"""How many of the questions with the nearest deadlines are candidates for the next one."""
MOST_MEMBERS = 200
LONGEST_NAME = 150
SIGNED_OUT = "executions/question_signed_out.html"
"""Takes the place of the live part after a log-out. The form stays with what was entered."""


@admin.register(Interaction)
class InteractionAdmin(LongList):
    list_display = ("question", "request_fields", "pipeline", "tenant", "due", "claim", "addressee", "state")
    list_filter = (
        ClaimFilter,
        StatusFilter,
        PipelineFilter.at("execution__pipeline_id"),
        StepFilter,
        DeadlineFilter,
        AssigneeFilter,
        GroupFilter,
        TransportFilter,
        TenantFilter,
    )
    search_fields = ("execution__id",)
    search_help_text = "Question, execution or correlation id"
    ordering = ("deadline", "created_at", "id")
    change_list_template = "executions/question_list.html"
    empty = (
        "Questions appear here when an execution asks one, the nearest deadline first. If you filter the list, clear "
        "the filters to see the others."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Interaction]:
        """Return the questions without payloads, each with its execution. `QuestionList` adds what a list shows."""
        rows = super().get_queryset(request).select_related("tenant", "execution")
        return rows.defer("request", "response", *PAYLOADS_OF_EXECUTION)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[QuestionList]:
        return QuestionList

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Return the filters. `news` shows none, so it gets those in use: others would read their choices."""
        if request.path != reverse("admin:executions_interaction_news"):
            return self.list_filter
        # The status has a default.
        return [field for field in self.list_filter if field.parameter_name in {"status", *request.GET}]

    @serves("news/", None, Scope.READ, polled=True)
    def news(self, request: HttpRequest) -> HttpResponse:
        """Return the rows of the list again; 204 if they are as `shown`, or cannot be read in time."""
        query = request.GET.copy()
        [*_, shown] = query.pop("shown", [""])
        request.GET = query  # type: ignore[assignment]  # the query of the list
        request.resolver_match = resolve(reverse("admin:executions_interaction_changelist"))  # whose links are shown
        try:
            marks = QuestionMarks(request, self)
        except IncorrectLookupParameters:
            raise Http404 from None
        if marks.problem or marks.mark == shown:
            return HttpResponse(status=204)
        return self.part(request, "executions/question_rows.html", cl=self.get_changelist_instance(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Interaction], search_term: str
    ) -> tuple[QuerySet[Interaction], bool]:
        """Search by complete ids, which have indexes."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            searched = uuid.UUID(term)
        except ValueError:
            return queryset.filter(correlation_id=term), False
        named = Q(pk=searched) | Q(execution=searched) | Q(correlation_id=str(searched))
        return queryset.filter(named), False

    @column("Question")
    def question(self, question: Interaction) -> SafeString:
        return format_html('<span id="question-{}">{}</span>', question.pk, question)  # keeps the focus on its row

    @column("Request", empty="-")
    def request_fields(self, question: Any) -> SafeString | None:
        fields = telling_fields(question.members or {})
        lines = format_html_join("", '<div><span class="dc-quiet">{}:</span> {}</div>', fields)
        return format_html('<div class="dc-lines">{}</div>', lines) if lines else None

    @column("Pipeline and execution")
    def pipeline(self, question: Interaction) -> SafeString:
        execution = question.execution
        name = execution.business_key or f"…{str(execution.pk)[-8:]}"
        return format_html(
            '<div class="dc-lines">{}<div class="dc-quiet">{}</div></div>', execution.pipeline_id, cut(name)
        )

    @badge("Status", dict((*STATUSES.values(), OVERDUE)))
    def state(self, question: Interaction) -> str:
        late = question.status in Interaction.OPEN and question.deadline <= timezone.now()
        return (OVERDUE if late else STATUSES[question.status])[0]

    due = time("Deadline", "deadline")

    @column("Claimed by", empty="-")
    def claim(self, question: Interaction) -> str | None:
        return person(question.claimed_by) if question.claimed_by and is_claimed(question) else None

    @column("For", empty="-")
    def addressee(self, question: Interaction) -> str | None:
        to = person(question.delegate) if question.delegate else question.assignee
        return ", ".join(filter(None, (to, question.group and f"group {question.group}"))) or None

    def show(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        """Show the question. The claimant's visit renews the claim."""
        if request.method == "GET" and row.claimed_by == actor(request.user) and self._may_answer(request, row):
            claims.renew(row, actor=actor(request.user), person=request.user)
        return self._shown(request, row)

    @serves("<uuid:object_id>/live/", polled=True, signed_out=SIGNED_OUT)
    def live(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        """Return what has changed since the page was shown; 204 if nothing has."""
        present = self._present(request, row)
        if (request.GET.get("shown"), request.GET.get("left")) == (present.mark, present.countdown):
            return HttpResponse(status=204)
        return self._live(request, present, **self._decision(request, present.question))

    def _present(self, request: HttpRequest, question: Interaction, buttons: str = "") -> Present:
        return Present.of(
            question,
            cast("User", request.user),
            has_role=self.has_scope(request, Scope.ANSWER, question),
            may_answer=self._may_answer(request, question),
            buttons=buttons or request.GET.get("buttons", ""),
        )

    def _live(self, request: HttpRequest, present: Present, **context: Any) -> HttpResponse:
        """Return the live part, and what it changes elsewhere on the page."""
        shown = {**present.context(), "changed": request.GET.get("shown") != present.mark, **context}
        return self.part(request, "executions/question_live_parts.html", original=present.question, **shown)

    def _decision(self, request: HttpRequest, question: Interaction) -> dict[str, Any]:
        """Return what people see of the answer. Others than readers of payloads see that there is one."""
        may_read = any(self.has_scope(request, scope, question) for scope in (Scope.ANSWER, Scope.PAYLOADS))
        if question.status != Interaction.Status.COMPLETED or not may_read:
            return {"may_read": may_read}
        return {
            "may_read": True,
            "answer_fields": _as_answer(question, question.response),
            "answered": bounded_json(question.response),
        }

    # --- claims ---------------------------------------------------------------------------------------

    @serves("<uuid:object_id>/claim/", Act.INTERACTION_CLAIM, Scope.ANSWER, name="claim")
    def claim_page(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        claim = partial(claims.claim, person=request.user, take_over=bool(request.POST.get("take_over")))
        return self._act(request, row, claim, "You have claimed the question. Others see that you are working on it.")

    @serves("<uuid:object_id>/release/", Act.INTERACTION_RELEASE, Scope.ANSWER, name="release")
    def release_page(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        return self._act(request, row, claims.release, "You have released the question.")

    @serves("<uuid:object_id>/delegate/", Act.INTERACTION_DELEGATE, Scope.ANSWER, name="delegate")
    def delegate_page(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        to, take_over = request.POST.get("to", "").strip(), bool(request.POST.get("take_over"))
        note = request.POST.get("note", "").replace("\r\n", "\n")

        def delegate(*names: Any, actor: str) -> None:
            require_text(to, "to", LONGEST_NAME)
            require_text(note, "note", claims.LONGEST_NOTE)
            claims.delegate(*names, actor=actor, person=request.user, to=to, note=note, take_over=take_over)

        return self._act(request, row, delegate, f"The question is delegated to {to}.")

    @serves("<uuid:object_id>/reassign/", Act.INTERACTION_REASSIGN, Scope.ADMINISTER, name="reassign")
    def reassign_page(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        assignee, group = (request.POST.get(name, "").strip() for name in ("assignee", "group"))
        reason = request.POST.get("reason", "").replace("\r\n", "\n")

        def reassign(*names: Any, actor: str) -> None:
            require_text(assignee, "assignee", recipients.LONGEST_RECIPIENT)
            require_text(group, "group", recipients.LONGEST_RECIPIENT)
            require_text(reason, "reason", claims.LONGEST_NOTE)
            reassignment.reassign(*names, actor=actor, reason=reason, assignee=assignee, group=group)

        return self._act(request, row, reassign, "The question has other recipients.")

    def _act(self, request: HttpRequest, row: Interaction, act: Callable[..., Any], done: str) -> HttpResponse:
        """Perform an act, which gets the tenant and the id of the question, and show the question again.

        htmx gets the live part alone, so that a form on the page keeps what was entered.
        """
        refused = None
        if request.method == "POST":
            try:
                act(row.tenant, row.pk, actor=actor(request.user))
            except CoordinatorError as error:
                refused = error
            if _stays(request):
                present = self._present(request, questions.get_question(row.tenant, row.pk))
                decision = self._decision(request, present.question)
                return self._live(request, present, problem=problem_of(refused), **decision)
            if refused:
                return self._shown(request, self.row_or_404(request, row.pk), error=refused)
            messages.success(request, done)
        return redirect("admin:executions_interaction_change", row.pk)

    # --- answers --------------------------------------------------------------------------------------

    @serves("<uuid:object_id>/answer/", Act.INTERACTION_ANSWER, Scope.ANSWER, signed_out=SIGNED_OUT)
    def answer(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        """Submit the answer of the form, or the JSON. A rejected answer stays in the form.

        The page submits with htmx, and so stays if the answer does not arrive, or if its person is logged out.
        """
        if request.method != "POST":
            return redirect("admin:executions_interaction_change", row.pk)
        question = questions.get_question(row.tenant, row.pk)
        form = AnswerForm.submitted(question, request.POST.dict())
        if form.is_edit:
            return self._shown(request, row, form=form)
        try:
            if form.is_review:
                return self._shown(request, row, form=form, summary=form.checked())
            completion = questions.answer(
                row.tenant,
                question_id=row.pk,
                response=form.response(),
                actor=actor(request.user),
                person=request.user,
                channel=Interaction.Channel.PAGE,
                note=form.note,
                unless_claimed=not form.take_over,
            )
        except CoordinatorError as error:
            rest = form.place(error)
            return self._shown(request, self.row_or_404(request, row.pk), form=form, error=error, problems=rest)
        if completion.duplicate:
            return self._shown(request, row, form=form)
        messages.success(
            request, "Your answer was accepted. The execution continues when all its questions are answered."
        )
        following = self._next(request, row) if form.then_next else row
        if following is None:
            messages.info(request, "No other open question is waiting for you.")
            address = reverse("admin:executions_interaction_changelist")
        else:
            address = reverse("admin:executions_interaction_change", args=[following.pk])
        return HttpResponse(headers={"HX-Redirect": address}) if _stays(request) else redirect(address)

    def _next(self, request: HttpRequest, row: Interaction) -> Interaction | None:
        """Return the open question that the person may answer and no other has claimed, same pipeline first."""
        rows = Interaction.objects.filter(tenant__in=list(tenants_of(request.user, Scope.ANSWER)))
        rows = rows.filter(recipients.answerable_by(request.user))
        free = Q(claimed_until=None) | Q(claimed_until__lte=timezone.now()) | Q(claimed_by=actor(request.user))
        open_rows = rows.filter(free, status__in=Interaction.OPEN).exclude(transport__in=AUTOMATIC).exclude(pk=row.pk)
        nearest = open_rows.order_by("deadline", "created_at", "id").select_related("execution")
        few = nearest.only("pk", "execution__pipeline_id")[:MOST_NEXT]
        return min(few, key=lambda other: other.execution.pipeline_id != row.execution.pipeline_id, default=None)

    def _may_answer(self, request: HttpRequest, row: Interaction) -> bool:
        return self.has_scope(request, Scope.ANSWER, row) and recipients.permits(row, request.user)

    # --- the page -------------------------------------------------------------------------------------

    def _shown(
        self,
        request: HttpRequest,
        row: Interaction,
        *,
        form: AnswerForm | None = None,
        error: CoordinatorError | None = None,
        problems: list[Any] | None = None,
        summary: Any = NOTHING,
    ) -> HttpResponse:
        question = questions.get_question(row.tenant, row.pk)
        present = self._present(request, question)
        has_form = present.answerable and present.may_answer
        if has_form:
            form = form or AnswerForm.fresh(question)
            buttons = form.buttons if summary is NOTHING else f"{'json' if form.is_json else 'fields'}-summary"
            present = replace(present, buttons=buttons)
        decision = self._decision(request, question)
        problem = problem_of(error)
        if problem and problems is not None:
            problem["errors"] = problems
            if error and error.errors and not problems:  # each is shown at its field
                problem["detail"] = "Some fields have a problem."
        answering = {
            **decision,
            "form": form,
            "has_form": has_form,
            "summary": _as_answer(question, summary) if summary is not NOTHING else None,
            "longest_note": claims.LONGEST_NOTE,
            "problem": problem,
        }
        if _stays(request):
            return self._live(request, present, **answering)
        return self.page(
            request,
            "executions/question.html",
            status=error.status if error else 200,
            title=f"{question} of {question.execution.pipeline_id}",
            original=question,
            **present.context(),
            **answering,
            may_reassign=present.answerable and self.has_scope(request, Scope.ADMINISTER, question),
            has_nobody=present.answerable and not present.may_answer and recipients.has_nobody(question),
            draft=form.draft if form else "",
            entered=request.POST,
            items=question.unit.expected_items,
            request_fields=readable(question.request, described_types_of(question), request_type(question))
            if decision["may_read"]
            else None,
            request_json=bounded_json(question.request) if decision["may_read"] else None,
            members=recipients.candidates(question)[:MOST_MEMBERS] if present.buttons else (),
            events=question.events.order_by("-sequence")[:20],
        )


def _stays(request: HttpRequest) -> bool:
    """True if the page that sent the request stays and takes parts of the response."""
    return bool(request.headers.get("HX-Request"))


def _as_answer(question: Interaction, value: Any) -> Readable:
    return readable(value, described_types_of(question), question.output_type)
