import logging
from dataclasses import dataclass

from pipelines import NonRetryable, Pipeline

log = logging.getLogger(__name__)
PRIVATE = "private-" + str(4700 + 12)


@dataclass
class Message:
    text: str


class Refused(NonRetryable):
    pass


pipeline = Pipeline("tests.talkative")


@pipeline.step
def talk(message: Message) -> Message:
    log.info("about to fail")
    try:
        raise KeyError(message.text)
    except KeyError as error:
        refuse(message.text, error)


def refuse(text: str, error: Exception) -> None:
    raise Refused(f"{text} {PRIVATE}") from error
