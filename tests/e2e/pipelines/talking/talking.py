import logging
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext

log = logging.getLogger("talking")


@dataclass
class Order:
    rows: int
    gate: str


pipeline = Pipeline("tests.talking", config={"TALKING_SIZE": int}, secrets=["TALKING_TOKEN"])


@pipeline.step
def load(order: Order, context: StepContext) -> Order:
    done = context.last_heartbeat or 0
    print("begins", "after", done, "as", context.secret("TALKING_TOKEN"))
    while done < order.rows:
        done += context.config["TALKING_SIZE"]
        context.heartbeat(done)
        context.progress(done, order.rows, "loading")
        log.info("loaded %d", done)
        while done == 2 and not Path(order.gate).exists():
            time.sleep(0.01)
    return order
