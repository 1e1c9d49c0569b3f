"""How the benchmark talks to a side: JSON lines over stdin and stdout of a process."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Side:
    """A process that runs one side of the comparison for one size of model and batch."""

    def __init__(self, python: Path, script: Path, settings: dict[str, Any]) -> None:
        self.name = script.stem
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "PYTHONPATH": os.pathsep.join([str(script.parents[2]), str(script.parent)]),
        }
        self.process = subprocess.Popen(
            [str(python), str(script), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.spec = self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}; see stderr above.")
        return json.loads(line)

    def ask(self, what: str, **arguments: Any) -> Any:
        """The answer of one of the side's functions."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, arguments]) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def running(*sides: Side) -> Iterator[None]:
    """Ends the processes, whatever happens."""
    try:
        yield
    finally:
        for side in sides:
            side.close()


def answer(first: Any, functions: dict[str, Callable[..., Any]]) -> None:
    """Runs in a side's process: says `first`, then answers what it is asked until stdin ends."""
    # Libraries print to stdout too: the answers keep it for themselves.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(first), file=out)
    for line in sys.stdin:
        what, arguments = json.loads(line)
        print(json.dumps(functions[what](**arguments)), file=out)


def seconds_of(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, by the clock."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def usage() -> dict[str, float]:
    """Seconds of processor time of this process so far, in user code and in the kernel."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"user_s": used.ru_utime, "system_s": used.ru_stime}


def peak_memory_bytes() -> int:
    """Most resident memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
