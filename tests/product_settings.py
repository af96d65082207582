import json
import os
from typing import Any

from coordinator import settings

VARIABLE = "CONSTANTS"
FAST = {"RETRY_JITTER": 0, "WEBHOOK_DELAY_SECONDS": 0.2, "WEBHOOK_ATTEMPTS": 3}

globals().update({name: getattr(settings, name) for name in dir(settings) if name.isupper()})
globals().update(json.loads(os.environ.get(VARIABLE, "{}")))


def with_constants(**constants: Any) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": __name__, VARIABLE: json.dumps(FAST | constants)}
