"""What every job does when it is run by itself: `python -m beam_pipelines.<job>`."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from tfrs_sage.errors import InputError


def run_job(run: Callable[[], dict[str, Any]]) -> int:
    """Prints what the job returns as JSON; the exit code, 2 for bad input."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    try:
        print(json.dumps(run()))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
