"""What every verb shares: results on standard output, everything else on standard error."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import IO, Annotated, Any

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
]

# Standard output while `results_only` keeps everything but results away from it.
_results: IO[str] | None = None


def _plain(value: Any) -> Any:
    """What `json` cannot write itself: paths, NumPy scalars and arrays."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a result must be plain data. Received: {type(value).__name__} {value!r}.")


def emit(result: Mapping[str, Any], as_json: bool, *human: Any) -> None:
    """Prints the result of a verb on standard output.

    Args:
        result: what `--json` prints, as one object.
        as_json: whether to print it so.
        human: what rich prints otherwise, one after the other; without any, the result as
            `key: value` lines.
    """
    stream = _results or sys.stdout
    if as_json:
        stream.write(json.dumps(result, ensure_ascii=False, default=_plain) + "\n")
        stream.flush()
        return
    from rich.console import Console

    # Without a terminal (a pipe, a log) 80 columns would fold the tables' cells.
    console = Console(file=stream, soft_wrap=True, width=None if stream.isatty() else 200)
    for item in human or (f"{key}: {value}" for key, value in result.items()):
        console.print(item, markup=False, highlight=False)


@contextmanager
def results_only() -> Iterator[None]:
    """Sends whatever is printed to standard error, except what `emit` prints.

    Libraries print progress bars and notes; under `--json` nothing but the result may reach
    standard output.
    """
    global _results
    before, _results = _results, sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = before


def results_only_descriptor() -> None:
    """As `results_only` for a whole process: C++ code and worker processes included."""
    sys.stdout.flush()
    kept = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = os.fdopen(kept, "w", encoding="utf-8")


def set_up_logging() -> None:
    """Our own notes from INFO on, others' from WARNING on, on standard error."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    for room in ("tfrs_sage", "beam_pipelines", "serving"):
        logging.getLogger(room).setLevel(logging.INFO)
