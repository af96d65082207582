"""One execution of ``pipelines run``: its questions go to the options and the terminal, its progress to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.plan import plan
from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.step_settings import StepSettings
from pipelines.authoring.values import Encoded
from pipelines.commands.asking import Asking, value_of
from pipelines.commands.kept_run import KeptRun
from pipelines.commands.progress import Progress as Lines
from pipelines.commands.progress import Shown
from pipelines.errors import DefinitionError
from pipelines.failures import Failed
from pipelines.local_run import LocalRun, Progress, Question, started
from pipelines.worker.run_results import Completed
from wire import log_lines
from wire.identity import step_id
from wire.messages.celery_messages import Shape

LONGEST_REQUEST: Final = 2_000
"""How many characters of a question are shown."""


class LocalExecution(LocalRun):
    """One execution in this process, for a person at a terminal or a script.

    ``answers`` are texts STEP=JSON. The answers of one step belong to the items of a stream, in their order. ``shown``
    gets what happens. Raises ``DefinitionError`` UNKNOWN_AWAIT.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        kept: KeptRun,
        answers: Sequence[str],
        shown: Shown,
        settings: StepSettings | None,
        *,
        retries: int,
    ) -> None:
        context = StepContext(
            tenant_id="local",
            execution_id=kept.execution_id,
            pipeline_id=pipeline.pipeline_id,
            contract_version=kept.contract_version,
            release_version="local",
            attempt=0,
            transition_key="",
            settings=settings,
        )
        super().__init__(pipeline, retries=retries, context=context)
        self.retries = retries
        self._kept = kept
        self._shown = shown
        self._plan = plan(pipeline)
        self._steps = {step_id(step.name): step for step in self._plan.steps}
        self._asking = Asking(self._plan)
        self._lines = Lines(self._plan.steps, shown)
        self._given = _by_step(answers, [step.name for step in self._plan.steps if _is_question(step)])
        self._used: set[str] = set()
        self._continues = kept.progress is not None
        self.finished = dict(kept.items)

        if kept.file is not None and not pipeline.checkpoint:
            self._say(
                "note: without Pipeline(..., checkpoint=True), an execution continues at its newest question only"
            )

    def beginning(self, source: str | None) -> Progress:
        """Return where to begin: where the kept run continues, or at the input in ``source``.

        Without a source, a terminal is asked. Raises ``DefinitionError``: INPUT_MISSING, INPUT_UNREADABLE,
        INVALID_INPUT.
        """
        if (kept := self._kept.progress) is not None:
            self._lines.restart(kept.step_index)
            unread = "; --input is not read" if source is not None else ""
            at = [*(repr(step.name) for step in self._plan.steps), "the end"][kept.step_index]
            self._say(f"continues at {at}{unread}; to start again, delete {self._kept.file}")
            return kept
        first = self._plan.steps[0]
        many = first.cardinality.takes_many
        example = self._asking.example(first.input, many=many)
        if source is not None:
            document = document_in(source)
            try:
                return started(self.pipeline, document)
            except DefinitionError as error:
                if error.code == "INVALID_INPUT" and example:
                    error.message += f"; an input has the form {example}"
                raise
        if not _is_terminal():
            raise DefinitionError("INPUT_MISSING", f"the pipeline needs an input; add --input '{example or 'JSON'}'")
        self._say(f"input of {first.name!r}:")
        return self._asking.value(first.input, lambda value: started(self.pipeline, value), many=many)

    def run(self, progress: Progress) -> Completed | Failed:
        result = super().run(progress)
        if isinstance(result, Failed):
            self._lines.failed(result.step_index)
        else:
            self._lines.done(len(self._plan.steps))
        return result

    def call(self, step: PlannedStep, function: Callable[[], Any]) -> Any:
        return self._lines.call(step, function)

    def reported(self, progress: str) -> None:
        self._lines.reported(log_lines.step_and_item.get()[0] or "", progress)

    def reached(self, progress: Progress) -> None:
        self._lines.done(progress.step_index)
        self._kept.reached(progress)

    def retrying(self, failed: Failed, delay: timedelta) -> None:
        self._lines.failed(failed.step_index)
        when = f" in {delay.total_seconds():g} s" if delay else ""
        self._say(f"retries{when} after {failed.failure_class}: {failed.message}")
        time.sleep(delay.total_seconds())
        self._lines.restart(self._kept.progress.step_index if self._kept.progress is not None else 0)

    def items_finished(self, texts: dict[int, str]) -> None:
        self._kept.finish_items(texts)

    def wait(self, timer: PlannedStep, delay: timedelta) -> None:
        self._lines.done(timer.index)
        self._lines.line(timer.name, f"timer of {delay}, skipped")

    def answers(self, questions: Sequence[Question], check: Callable[[Any], Encoded]) -> list[Encoded]:
        step = self._steps[step_id(questions[0].step)]
        self._lines.done(step.index)
        self._keep_questions(step, questions)
        return [self._answer(step, question, check) for question in questions]

    def _keep_questions(self, step: PlannedStep, questions: Sequence[Question]) -> None:
        """Store where the execution waits, as a coordinator does, so that the steps before the await run once."""
        requests = [self._request(step, question) for question in questions]
        itemized = questions[0].item_index is not None
        attempt = self._kept.progress.attempt if self._kept.progress is not None else 0
        shape: Shape = "MULTI" if itemized or step.cardinality.takes_many else "UNI"
        self._kept.reached(Progress(requests if itemized else requests[0], shape, step.index, attempt))

    def _answer(self, step: PlannedStep, question: Question, check: Callable[[Any], Encoded]) -> Encoded:
        """Return the stored answer, or that of an option, or the one that the terminal gives."""
        number = question.item_index or 0
        if str(number) in self._kept.answers:
            return check(self._kept.answers[str(number)])
        given = self._given.get(step_id(step.name), [])
        if number < len(given):
            answer = check(given[number])
            self._used.add(step.name)
            self._lines.line(step.name, f"answered by --answer: {_shortened(answer.document)}")
        elif _is_terminal():
            answer = self._ask(step, question, check)
        else:
            raise self._unanswered(step, question)
        self._kept.answered(str(number), answer.document)
        return answer

    def _ask(self, step: PlannedStep, question: Question, check: Callable[[Any], Encoded]) -> Encoded:
        who = question.assignee or question.group
        about = "" if question.item_index is None else f" about item {question.item_index + 1}"
        request = _shortened(self._request(step, question))
        self._lines.line(step.name, f"asks{f' {who}' if who else ''}{about}: {request}")
        return self._asking.value(step.output, check, many=step.cardinality.gives_many)

    def _unanswered(self, step: PlannedStep, question: Question) -> DefinitionError:
        example = self._asking.example(step.output, many=step.cardinality.gives_many) or "JSON"
        item = "" if question.item_index is None else f" about item {question.item_index + 1}"
        return DefinitionError(
            "ANSWER_MISSING",
            f"{step.name!r} asks{item}: {_shortened(self._request(step, question))}; run in a terminal, or add "
            f"--answer '{step.name}={example}'",
        )

    def _request(self, step: PlannedStep, question: Question) -> Any:
        if step.cardinality.takes_many:
            return [step.input.encode(item).document for item in question.request]
        return step.input.encode(question.request).document

    def warn_of_unused_answers(self) -> None:
        """Warn of answers to awaits that were not asked, unless an earlier process may have asked."""
        for name, answers in self._given.items():
            if self._steps[name].name not in self._used and not self._continues:
                self._say(f"warning: nothing asked for {len(answers)} --answer of {self._steps[name].name!r}")

    def _say(self, text: str) -> None:
        print(text, file=self._shown, flush=True)


def _is_question(step: PlannedStep) -> bool:
    from wire.documents.contract import TIMER

    return step.waits is not None and step.waits.transport != TIMER


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _by_step(texts: Sequence[str], awaits: Sequence[str]) -> dict[str, list[Any]]:
    """Return the answers by the id of their step. Capitals of a step's name do not count."""
    answers: dict[str, list[Any]] = defaultdict(list)
    for text in texts:
        names = [name for name in awaits if text.lower().startswith(f"{name.lower()}=")]
        if not names:
            known = (
                f"write STEP=JSON with one of {', '.join(map(repr, awaits))}" if awaits else "the pipeline asks nothing"
            )
            raise DefinitionError("UNKNOWN_AWAIT", f"--answer {text!r} names no question; {known}")
        name = max(names, key=len)
        answers[step_id(name)].append(value_of(text[len(name) + 1 :]))
    return dict(answers)


def document_in(source: str) -> Any:
    """Return the JSON of ``--input``: of standard input for ``-``, of a file, or the text itself."""
    if source == "-":
        return _parsed(sys.stdin.read(), "standard input")
    try:
        is_file = Path(source).is_file()
    except OSError:  # JSON that is too long for a name
        is_file = False
    if not is_file and source.endswith(".json"):
        raise DefinitionError("INPUT_UNREADABLE", f"there is no file {source} in {Path.cwd()}")
    try:
        return _parsed(Path(source).read_text(encoding="utf-8"), source) if is_file else _parsed(source, "--input")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("INPUT_UNREADABLE", f"{source} cannot be read: {error}") from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        hint = "; name an existing file, or write JSON" if place == "--input" else ""
        raise DefinitionError("INPUT_UNREADABLE", f"{place} is not JSON: {error}{hint}") from error


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_REQUEST else f"{text[:LONGEST_REQUEST]}…"
