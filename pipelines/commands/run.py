"""``pipelines run``: run a pipeline in this process, without any server."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.commands.options import add_pipeline, add_repeated, add_secrets, import_from_here

if TYPE_CHECKING:
    from pipelines.commands.local_execution import LocalExecution
    from pipelines.failures import Failed

FAILED: Final = 1
INTERRUPTED: Final = 130


def add(parser: argparse.ArgumentParser) -> None:
    add_pipeline(parser)
    parser.add_argument("--input", metavar="FILE|-|JSON", help="the input; without it, the terminal asks for it")
    text = "the answer to a question, as JSON; repeat it for the items of a stream, in their order"
    add_repeated(parser, "--answer", "STEP=JSON", text, kind=str)
    parser.add_argument(
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="how often a failure is retried, at once, if its step declares nothing else; default: 0",
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="DIR",
        help="store checkpoints and answers here; the same command continues an execution that was killed or failed",
    )
    add_secrets(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Run a pipeline. The exit status is 1 if the execution failed, and 2 after a mistake in the command."""
    import logging

    from pipelines.authoring.compiler import compile_contract
    from pipelines.authoring.reference import find
    from pipelines.authoring.step_settings import settings_of
    from pipelines.commands.kept_run import KeptRun
    from pipelines.commands.local_execution import LocalExecution
    from pipelines.commands.progress import Shown
    from pipelines.failures import Failed

    import_from_here()
    shown = Shown()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=shown)
    with redirect_stdout(shown):  # what steps print is not the result
        pipeline = find(arguments.pipeline)
        kept = KeptRun.load(arguments.checkpoint_dir, compile_contract(pipeline)["contractVersion"])
        settings = settings_of(pipeline, folder=arguments.secrets)
        execution = LocalExecution(pipeline, kept, arguments.answer, shown, settings, retries=arguments.retries)
        try:
            result = execution.run(execution.beginning(arguments.input))
        except (KeyboardInterrupt, EOFError):
            again = "; the same command continues" if arguments.checkpoint_dir else ""
            print(f"\ninterrupted{again}", file=shown)
            return INTERRUPTED
        execution.warn_of_unused_answers()
    if isinstance(result, Failed):
        _explain(result, execution)
        return FAILED
    kept.finished()
    value = result.outputs if result.many else result.outputs[0]
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
    return 0


def _explain(failed: Failed, execution: LocalExecution) -> None:
    """Print why the execution failed, with the frames of the author's code."""
    if failed.traceback:
        print(failed.traceback, file=sys.stderr)
    print(f"error: {failed.failure_class}: {failed.message}", file=sys.stderr)
    if failed.retryable and not execution.retries and execution.policy_of(failed).retries is None:
        print("A coordinator retries such a failure. To retry it here, add --retries N.", file=sys.stderr)
