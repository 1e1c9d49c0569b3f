"""The program `tfrs-sage`: its verbs, its exit codes.

Exit 0: done. 2: bad usage or bad input, told in one message. 1: failed.
"""

import importlib
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated

import typer

import tfrs_sage
from tfrs_sage.cli.output import emit, results_only, results_only_descriptor, set_up_logging
from tfrs_sage.errors import InputError

# Files of this folder, in the order of `--help`. Each holds a function of the verb's name, or a
# typer app named `app` for a verb with verbs of its own. They must import nothing heavy at the
# top: all are imported for `--help`, which answers at once.
VERBS = (
    "quickstart",
    "run",
    "validate",
    "enrich",
    "preprocess",
    "train",
    "embed",
    "index",
    "cluster_users",
    "mine_negatives",
    "export",
    "evaluate",
    "evaluate_users",
    "compare",
    "ablate",
    "report",
    "serve",
    "query",
    "explain",
    "dataset",
    "doctor",
)

app = typer.Typer(
    help="Retrieval for shopping and visual discovery, from tables to served answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(tfrs_sage.__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Retrieval for shopping and visual discovery, from tables to served answers."""


def _register(verb: str) -> None:
    module = importlib.import_module(f"tfrs_sage.cli.{verb}")
    name = verb.replace("_", "-")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(getattr(module, verb))


for _verb in VERBS:
    _register(_verb)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: the arguments after the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad usage or bad input. An unforeseen error is raised
        as it is: its trace belongs into the report of a bug, and the process ends with 1.
    """
    from pydantic import ValidationError

    from tfrs_sage.training.stopping import TrainingDiverged, TrainingStopped

    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    set_up_logging()
    with ExitStack() as stack:
        if as_json:
            stack.enter_context(results_only())
        try:
            typer.main.get_command(app)(arguments, prog_name="tfrs-sage")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except (InputError, ValidationError) as error:
            print(f"tfrs-sage: {error}", file=sys.stderr)
            if as_json:
                emit({"error": str(error)}, as_json=True)
            return 2
        except TrainingStopped as stopped:
            print(f"tfrs-sage: {stopped}", file=sys.stderr)
            if as_json:
                emit({"stopped": str(stopped)}, as_json=True)
            # SIGTERM asked for a clean end and got it; Ctrl-C is told to the shell as usual.
            return 0 if stopped.signal == signal.SIGTERM else 128 + stopped.signal
        except TrainingDiverged as error:
            print(f"tfrs-sage: {error}", file=sys.stderr)
            return 1
    return 0


def entry() -> None:
    """The console script."""
    if "--json" in sys.argv:
        results_only_descriptor()
    sys.exit(main())
