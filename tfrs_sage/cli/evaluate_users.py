"""`tfrs-sage evaluate-users`: how well users' clusters foresee what users do next."""

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import BeamOption, DirOption, SetOption
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


def label_of(name: str, config: Any) -> str:
    """A method as the table names it."""
    known = {
        "kmeans": f"k-means, k = {config.num_clusters}",
        "centroid": "centroids for medoids",
        "pinnersage": f"PinnerSage: lambda {config.decay:g}, {config.num_samples} drawn",
        "oracle": "oracle (sees the future)",
    }
    start, _, number = name.partition("_")
    if start == "decay" and number:
        return f"lambda {number}"
    if start == "sample":
        return f"{number} drawn"
    return known.get(name, name.replace("_", " "))


def methods_table(result: dict[str, Any], config: Any) -> Any:
    """Every method: each metric with its interval, below it the lift over the last item."""
    from rich.table import Table

    names = ("relevance", "recall", "r_precision", "reciprocal_rank")
    title = f"split {result['split']}: {result['num_users']} users, 95% intervals, lift over last"
    table = Table(title=f"{title} item", show_lines=True)
    for heading in ("method", *(name.replace("_", " ") for name in names), "clusters"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, one in result["methods"].items():
        cells = []
        for metric in names:
            found, lift = one[metric], one[metric]["lift"]
            cell = f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
            if lift is not None and name != "last_item":
                cell += f"\n{lift['mean']:+.0%} ({lift['low']:+.0%} to {lift['high']:+.0%})"
            cells.append(cell)
        table.add_row(label_of(name, config), *cells, f"{one['num_clusters']:.1f}")
    return table


def order_table(result: dict[str, Any]) -> Any:
    """Whether each method is above what it should be above: differences of the same users."""
    from rich.table import Table

    table = Table(title="differences of the same users, 95% intervals")
    table.add_column("difference")
    for metric in result["order"]:
        table.add_column(metric.replace("_", " "), justify="right")
    for name in next(iter(result["order"].values())):
        cells = []
        for metric in result["order"].values():
            one = metric[name]
            sign = "above" if one["low"] > 0 else "below" if one["high"] < 0 else "no telling"
            cells.append(f"{one['mean']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}) {sign}")
        table.add_row(name.replace("_", " "), *cells)
    return table


def sweep_table(result: dict[str, Any]) -> Any:
    """Each threshold's relevance, recall and clusters; the chosen one marked."""
    from rich.table import Table

    table = Table(title=f"split {result['split']}: {result['num_users']} users, 95% intervals")
    headings = ("threshold", "relevance", "recall", "harmonic mean", "clusters", "10% 50% 90%")
    for heading in headings:
        table.add_column(heading, justify="right")
    for one in result["thresholds"]:
        cells = [
            "{:.3f} ({:.3f} to {:.3f})".format(*one[metric]) for metric in ("relevance", "recall")
        ]
        mark = " *" if one["threshold"] == result["chosen"] else "  "
        quantiles = " ".join(f"{number:.0f}" for number in one["clusters_quantiles"])
        mean = f"{one['harmonic_mean']:.3f}"
        clusters = f"{one['clusters'][0]:.1f}"
        table.add_row(f"{one['threshold']:g}{mark}", *cells, mean, clusters, quantiles)
    return table


def choose_threshold(histories: Any, config: Any) -> dict[str, Any]:
    """The sweep of the thresholds that the histories suggest, and which of them is best."""
    from dataclasses import asdict

    from tfrs_sage.report.users_sweep import RULE, chosen, harmonic_mean, threshold_grid
    from tfrs_sage.users.sweep import sweep_thresholds

    number = histories.num_users
    grid = threshold_grid(watched(histories, number, "merge heights"), config)
    users = watched(histories, number, f"{len(grid)} thresholds")
    scores = sweep_thresholds(users, histories.catalogue, grid, config)
    best = chosen(scores)
    return {
        "num_users": best.num_users,
        "thresholds": [{**asdict(one), "harmonic_mean": harmonic_mean(one)} for one in scores],
        "chosen": best.threshold,
        "rule": RULE,
        "configured": config.threshold,
    }


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
    set: SetOption = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Instead: relevance, recall and clusters at many thresholds, on the "
            "validation split, and which one to take."
        ),
    ] = False,
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user", help="Users to draw [those of the most, a median number and the fewest "
            "clusters]."
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
    from beam_pipelines.vector_table import VectorTable, vector_table
    from tfrs_sage.artefacts import write_json
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.errors import InputError
    from tfrs_sage.report.users_histories import Histories
    from tfrs_sage.report.users_pictures import typical_users, write_pictures
    from tfrs_sage.report.users_protocol import evaluate_users as evaluate
    from tfrs_sage.schema.reading import table_files
    from tfrs_sage.training.config import load_config

    split, past = split or ("validation" if sweep else "test"), past or ["train"]
    check_splits(split, past, sweep)
    run = RunFolder.open(dir, beam_args=beam)
    if run.input is None or "engagements" not in table_files(run.input):
        raise InputError(
            f"The run's tables must hold engagements. Found: none in {run.input}. Give the run "
            "its tables with `tfrs-sage preprocess --input`."
        )
    given = [] if threshold is None else [f"users.threshold={threshold}"]
    config = load_config("base", dir / "config.yaml", [*(set or ()), *given]).users
    table = vector_table(dir)
    items = VectorTable(table)
    with tempfile.TemporaryDirectory(prefix=".histories-", dir=table.parent) as folder:
        logger.info("histories: %s clustered, %s foreseen", ", ".join(past), split)
        write_histories(run, config, table, Path(folder), past, split)
        ids = items.ids_of(range(len(items.vectors)))
        histories = Histories(Path(folder), ids, items.vectors, config, max_users)
        told = {
            "split": split,
            "past": past,
            "num_left_out": histories.num_left_out,
            "past_actions": histories.num_past,
            "future_actions": histories.num_future,
            "config": config.model_dump(mode="json"),
        }
        if sweep:
            result = {**told, **choose_threshold(histories, config)}
            write_json(dir / "metrics" / f"sweep-users-{split}.json", result)
            advice = f"users.threshold={result['chosen']:g}: {result['rule']} (*). Set it with"
            emit(result, json, sweep_table(result), f"{advice} --set when the run is made.")
            return
        users = watched(histories, histories.num_users, "methods")
        result = {**told, **evaluate(users, histories.catalogue, config)}
        if pictures:
            drawn = user or typical_users(histories, config)
            result["pictures"] = write_pictures(
                histories, drawn, histories.catalogue, config, run.input, dir / "report" / "users"
            )
            told_paths = {who: [str(path) for path in p] for who, p in result["pictures"].items()}
            result["pictures"] = told_paths
    write_json(dir / "metrics" / f"evaluate-users-{split}.json", result)
    chance = result["catalogue"]["similar_share"]
    emit(
        result,
        json,
        methods_table(result, config),
        order_table(result),
        f"By chance: {chance:.1%} of the pairs of items are alike (cosine of at least 0.8).",
        *(path for paths in result.get("pictures", {}).values() for path in paths),
    )
