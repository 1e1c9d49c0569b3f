"""`serve` as a process of its own."""

import re
import subprocess
import time
from pathlib import Path

# The verb's function alone, so that tests do not depend on the program's other verbs.
PROGRAM = """
import sys, typer
from tfrs_sage.cli.serve import serve
from tfrs_sage.errors import InputError
try:
    typer.run(serve)
except InputError as e:
    print(e, file=sys.stderr)
    sys.exit(2)
"""


def ready(process: subprocess.Popen, log: Path, timeout_s: float) -> str:
    """The gRPC address of a server whose standard error goes to `log`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"serving on (\S+:\d+): ", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"the server was not ready: {log.read_text(encoding='utf-8')}")
