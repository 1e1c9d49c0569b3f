"""`tfrs-sage evaluate-users`: how well users' clusters foresee what users do next."""

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import BeamOption, DirOption
from tfrs_sage.cli.output import JsonOption, emit

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 20.0


def history_row(element: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """One user's grouped histories as a row of `users_histories.SCHEMA`."""
    import numpy as np

    from beam_pipelines.histories import ACTION

    user, sides = element
    row: dict[str, Any] = {"user": user}
    for side, packed in sides.items():
        actions = np.frombuffer(b"".join(one[0] for one in packed), ACTION)
        row |= {f"{side}_{name}": actions[name].tolist() for name in ("time", "row", "weight")}
    return row


def write_histories(
    run: Any, users: Any, table: Path, folder: Path, past: Sequence[str], split: str
) -> None:
    """Writes every user's actions of the past splits and of the split asked for, as Parquet.

    Which rows count is decided by the code that `cluster-users` runs.
    """
    import apache_beam as beam

    from beam_pipelines.histories import ReadHistories
    from beam_pipelines.local_runner import pipeline_options
    from beam_pipelines.tables import ReadTable
    from tfrs_sage.report.users_histories import SCHEMA
    from tfrs_sage.schema.reading import table_files

    pipeline = beam.Pipeline(options=pipeline_options(run.beam_args))
    batches = pipeline | "Engagements" >> ReadTable("engagements", table_files(run.input))
    sides = {
        name: batches
        | name
        >> ReadHistories(
            table, splits, run.config.preprocess, users.action_weights, users.max_actions
        )
        for name, splits in (("past", tuple(past)), ("future", (split,)))
    }
    _ = (
        sides
        | "Join" >> beam.CoGroupByKey()
        | "Row" >> beam.Map(history_row)
        | "Write"
        >> beam.io.WriteToParquet(str(folder / "part"), SCHEMA, file_name_suffix=".parquet")
    )
    pipeline.run().wait_until_finish()


def check_splits(split: str, past: Sequence[str], sweep: bool) -> None:
    """Refuses unknown splits, a past that holds the answer, and a choice made on the test split."""
    from tfrs_sage.errors import InputError
    from tfrs_sage.schema.features import SPLITS

    if split not in SPLITS[1:] or set(past) - set(SPLITS) or split in past or not past:
        raise InputError(
            f"--split must be {' or '.join(SPLITS[1:])}, and --past others than it. Received: "
            f"--split {split}, --past {', '.join(past)}."
        )
    if sweep and split == "test":
        raise InputError(
            "--sweep chooses a threshold, which may not see the test split. Received: --split "
            "test. Leave --split out: a sweep takes validation."
        )


def watched(users: Iterable[Any], num_users: int, what: str) -> Iterator[Any]:
    """The users, told of as they pass: a bar on a terminal, a line now and then in a log."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    bar = track(
        users, what, num_users, console=console, transient=True, disable=not console.is_terminal
    )
    began = told = time.monotonic()
    for done, user in enumerate(bar):
        now = time.monotonic()
        if not console.is_terminal and now - told >= SECONDS_BETWEEN_LINES and done:
            told = now
            left = (now - began) / done * (num_users - done)
            logger.info("%s: %d of %d users, about %d s left", what, done, num_users, left)
        yield user


def choose_threshold(histories: Any, config: Any) -> dict[str, Any]:
    """The sweep of the thresholds that the histories suggest, and which of them is best."""
    from dataclasses import asdict

    from tfrs_sage.report.users_sweep import RULE, chosen, geometric_mean, threshold_grid
    from tfrs_sage.users.sweep import sweep_thresholds

    number = histories.num_users
    grid = threshold_grid(watched(histories, number, "merge heights"), config)
    users = watched(histories, number, f"{len(grid)} thresholds")
    scores = sweep_thresholds(users, histories.catalogue, grid, config)
    best = chosen(scores)
    return {
        "num_users": best.num_users,
        "thresholds": [{**asdict(one), "geometric_mean": geometric_mean(one)} for one in scores],
        "chosen": best.threshold,
        "rule": RULE,
        "configured": config.threshold,
    }


def changed_users(dir: Path, settings: Sequence[str], threshold: float | None) -> Any:
    """The run's section `users`, with the settings of this evaluation."""
    from tfrs_sage.errors import InputError
    from tfrs_sage.training.config import load_config

    if other := [one for one in settings if not one.strip().startswith("users.")]:
        raise InputError(
            f"--set of evaluate-users changes the section `users` alone. Received: {other[0]!r}. "
            "What else a run computes was settled when it was made."
        )
    given = [] if threshold is None else [f"users.threshold={threshold}"]
    return load_config("base", dir / "config.yaml", [*settings, *given]).users


def opened(folder: Path, table: Path, config: Any, max_users: int | None) -> Any:
    """The histories that the job wrote, with the vectors of their items."""
    import numpy as np

    from beam_pipelines.vector_table import VectorTable
    from tfrs_sage.report.users_histories import Histories

    items = VectorTable(table)
    ids = items.ids_of(np.arange(len(items.vectors)))
    return Histories(folder, ids, items.vectors, config, max_users)


def draw(
    histories: Any, config: Any, input: str, wanted: Sequence[str] | None, dir: Path
) -> dict[str, list[str]]:
    """The pictures of the wanted users, or of typical ones; the files by user."""
    from tfrs_sage.report.users_pictures import typical_users, write_pictures

    drawn = wanted or typical_users(histories, config)
    written = write_pictures(
        histories, drawn, histories.catalogue, config, input, dir / "report" / "users"
    )
    return {name: [str(path) for path in paths] for name, paths in written.items()}


def compare_methods(histories: Any, config: Any) -> dict[str, Any]:
    """The figures of every method."""
    from tfrs_sage.report.users_protocol import evaluate_users as evaluate

    users = watched(histories, histories.num_users, "methods")
    return evaluate(users, histories.catalogue, config)


def evaluate_users(
    dir: DirOption,
    split: Annotated[
        str | None,
        typer.Option("--split", help="What is to be foreseen: test or validation [test]."),
    ] = None,
    past: Annotated[
        list[str] | None,
        typer.Option("--past", help="Splits that are clustered; may be given many times [train]."),
    ] = None,
    max_users: Annotated[
        int | None,
        typer.Option("--max-users", min=1, help="Users at most, chosen by a hash of the id [all]."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, help="Alpha [users.threshold].")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="One setting of the section users, for this evaluation alone: "
            "users.action_weights.view=0, users.num_candidates=100; may be given many times.",
        ),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Instead: relevance, recall and clusters at many thresholds, on the "
            "validation split, and which one to take.",
        ),
    ] = False,
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user",
            help="Users to draw [those of the most, a median number and the fewest clusters].",
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw users' clusters and maps.")] = True,
    beam: BeamOption = None,
    json: JsonOption = False,
) -> None:
    """Compare ways to turn a user's past into queries by what the user did next.

    Relevance, recall, R-precision and reciprocal rank of PinnerSage and of what it is compared
    with, each with an interval and its lift over the last item. Settings given here hold for this
    evaluation alone.
    """
    from beam_pipelines.vector_table import vector_table
    from tfrs_sage.artefacts import write_json
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.errors import InputError
    from tfrs_sage.report.users_tables import sweep_table, told
    from tfrs_sage.schema.reading import table_files

    split, past = split or ("validation" if sweep else "test"), past or ["train"]
    check_splits(split, past, sweep)
    run = RunFolder.open(dir, beam_args=beam)
    if run.input is None or "engagements" not in table_files(run.input):
        raise InputError(
            f"The run's tables must hold engagements. Found: none in {run.input}. Preprocess the "
            "run again, with --input naming tables that have them."
        )
    config = changed_users(dir, set or (), threshold)
    table = vector_table(dir)
    with tempfile.TemporaryDirectory(prefix=".histories-", dir=table.parent) as folder:
        logger.info("histories: %s clustered, %s foreseen", ", ".join(past), split)
        write_histories(run, config, table, Path(folder), past, split)
        histories = opened(Path(folder), table, config, max_users)
        result: dict[str, Any] = {
            "split": split,
            "past": past,
            "num_left_out": histories.num_left_out,
            "past_actions": histories.num_past,
            "future_actions": histories.num_future,
            "config": config.model_dump(mode="json"),
        }
        if sweep:
            result |= choose_threshold(histories, config)
            shown = [
                sweep_table(result),
                f"* {result['rule']}. `cluster-users --threshold` keeps it.",
            ]
        else:
            if pictures:
                result["pictures"] = draw(histories, config, run.input, user, dir)
            result |= compare_methods(histories, config)
            shown = told(result, config)
    name = "sweep" if sweep else "evaluate"
    write_json(dir / "metrics" / f"{name}-users-{split}.json", result)
    emit(result, json, *shown)
