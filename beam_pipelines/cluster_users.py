"""Engagements and item embeddings to every user's clusters: Parquet, then the user store.

    python -m beam_pipelines.cluster_users --input TABLES --run_dir RUN [--direct_num_workers=2 ...]

What travels between the steps of an action is its time, the row of its item and its weight. Only
the newest actions of a user are gathered, so no user is too much for a worker; users are dealt out
by hash, and again before they are clustered. Workers map the embeddings into memory
(`vector_table`) and must reach the run folder.
"""

import os

# Workers share the cores by users. Threads for each product of two small matrices would only wait
# for one another: three times the time, measured. Heeded where NumPy is not yet loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq

from beam_pipelines import options
from beam_pipelines.command_line import run_job
from beam_pipelines.counters import count, job_counts
from beam_pipelines.histories import ACTION, ReadHistories
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.tables import ReadTable
from beam_pipelines.user_batch import SCHEMA, publish, require_not_older, row_of
from beam_pipelines.vector_table import VectorTable, vector_table
from tfrs_sage.artefacts import MANIFEST, read_manifest, whole_folder, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import SPLITS
from tfrs_sage.schema.reading import table_files
from tfrs_sage.users.clusters import Actions
from tfrs_sage.users.clusters import cluster_users as clusters_of
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.online import parse_time
from tfrs_sage.users.store import open_store

_LOG = logging.getLogger(__name__)
_SECOND = 1_000_000  # in microseconds
# What is clustered at once: enough to be fast, 20 MB of vectors at 256 floats.
USERS_AT_ONCE = 256
ACTIONS_AT_ONCE = 20_000


def cluster_users(
    run_dir: str | Path,
    input: str,
    config: ClusterConfig | None = None,
    splits: Sequence[str] = ("train",),
    as_of: float | None = None,
    store: str | None = None,
    attributed: bool = False,
    shares: PreprocessConfig | None = None,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs the job and waits for it.

    Args:
        run_dir: run folder with `embeddings/product`; `users/batch` and `users/vectors` appear.
        input: folder of the tables, any path that Beam's filesystems read.
        config: settings.
        splits: of the engagements. The default leaves out what the evaluation asks for later; a
            server wants all three.
        as_of: seconds since the epoch; later actions are left out. Default: the newest action
            found. The engagements must be complete up to it: the store takes no online event from
            before it.
        store: as `open_store` takes it. Default: `RUN/users/store.sqlite`.
        attributed: also take rows of other query types that name a `user_id`.
        shares: the settings of `preprocess`, for rows without a split.
        pipeline_args: options of Beam.

    Returns:
        The manifest of `users/batch`, with `gone` (users dropped from the store), `store` and
        `seconds`.

    Raises:
        InputError: no engagements, no embeddings, too many unreadable rows, no histories, or a
            store with a newer batch. The batch folder and the store are then as they were.
    """
    started = time.monotonic()
    config, shares = config or ClusterConfig(), shares or PreprocessConfig()
    files = table_files(input)
    if "engagements" not in files:
        raise InputError(
            f"The input must hold an engagements table. Found: {', '.join(sorted(files)) or 'none'}"
            f" in {input}. Add engagements.parquet, .jsonl or .csv."
        )
    if not splits or set(splits) - set(SPLITS):
        raise InputError(f"Splits are of {', '.join(SPLITS)}. Received: {', '.join(splits)!r}.")
    users = Path(run_dir) / "users"
    address = store or f"sqlite:///{users}/store.sqlite"
    table = vector_table(run_dir)
    with open_store(address) as opened:
        if as_of is not None:
            require_not_older(opened, as_of)
        histories = ReadHistories(
            table,
            splits,
            shares,
            config.action_weights,
            config.max_actions,
            attributed,
            None if as_of is None else round(as_of * _SECOND),
        )
        with whole_folder(users / "batch") as folder:
            counts = _run_pipeline(files, histories, table, config, folder, pipeline_args)
            manifest = _write_manifest(folder, counts, shares, table, config, splits, attributed)
            require_not_older(opened, manifest["as_of"])
        gone = publish(users / "batch", opened, VectorTable(table), config)
    seconds = round(time.monotonic() - started, 1)
    result = {**manifest, "gone": gone, "store": address, "seconds": seconds}
    _LOG.info("cluster-users: %s", json.dumps(result))
    return result


class ClusterUsers(beam.PTransform):
    """Histories (`ReadHistories`) -> rows of `user_batch.SCHEMA`.

    Args:
        table: folder of the `VectorTable`.
        config: settings.
        as_of: microseconds since the epoch; None for the newest action of all.
    """

    def __init__(self, table: Path, config: ClusterConfig, as_of: int | None = None) -> None:
        super().__init__()
        self._do = ClusterUser(str(table), config)
        self._as_of = as_of

    def expand(self, histories: beam.PCollection) -> beam.PCollection:
        now: Any = self._as_of
        if now is None:
            now = beam.pvalue.AsSingleton(
                histories | "Last" >> beam.Map(last_time) | "AsOf" >> beam.CombineGlobally(latest)
            )
        # What gathered the histories has them where it gathered them; they are dealt out again.
        return histories | "DealOut" >> beam.Reshuffle() | "Cluster" >> beam.ParDo(self._do, now)


class ClusterUser(beam.DoFn):
    """`(user, (packed ACTION array, seen, merged))`, now -> rows of `user_batch.SCHEMA`.

    Users are gathered within a bundle: many at once are several times faster.
    """

    def __init__(self, table: str, config: ClusterConfig) -> None:
        self._folder = table
        self._config = config

    def setup(self) -> None:
        self._table = VectorTable(self._folder)

    def start_bundle(self) -> None:
        self._users: list[tuple[str, Actions]] = []
        self._actions = 0

    def process(self, element: tuple[str, tuple[bytes, int, int]], now: int) -> Iterator[Any]:
        user_id, (packed, seen, merged) = element
        actions = np.frombuffer(packed, ACTION)
        capped = seen - merged - len(actions)
        _count({"merged": merged, "capped": capped, "capped_users": int(capped > 0)})
        rows = actions["row"]
        times, vectors = actions["time"] / _SECOND, self._table.vectors[rows]
        history = Actions(self._table.ids_of(rows), vectors, times, actions["weight"])
        self._users.append((user_id, history))
        self._actions += len(history)
        self._now = now
        if len(self._users) >= USERS_AT_ONCE or self._actions >= ACTIONS_AT_ONCE:
            yield from self._clustered()

    def finish_bundle(self) -> Iterator[Any]:
        for row in self._clustered():
            yield beam.transforms.window.GlobalWindows.windowed_value(row)

    def _clustered(self) -> Iterator[dict[str, Any]]:
        users, actions = self._users, self._actions
        if not users:
            return
        self.start_bundle()
        found = clusters_of(users, self._config, self._now / _SECOND, keep_members=True)
        found = [user for user in found if user.num_actions]
        clustered = sum(user.num_actions for user in found)
        _count(
            {
                "outside_window": actions - clustered,
                "users": len(found),
                "actions": clustered,
                "clusters": sum(len(user.clusters) for user in found),
            }
        )
        yield from map(row_of, found)


def _count(numbers: dict[str, int]) -> None:
    for name, number in numbers.items():
        if number:
            count(f"histories/{name}", number)


def last_time(element: tuple[str, tuple[bytes, int, int]]) -> int:
    """The time of a user's newest action, microseconds since the epoch."""
    return int(np.frombuffer(element[1][0][-ACTION.itemsize :], ACTION)["time"][0])


def latest(times: Any) -> Any:  # int or None
    """The latest of some times; None of none."""
    return max((time for time in times if time is not None), default=None)


def _run_pipeline(
    files: dict[str, list[str]],
    histories: ReadHistories,
    table: Path,
    config: ClusterConfig,
    folder: Path,
    pipeline_args: Sequence[str],
) -> dict[str, int]:
    """Builds the pipeline, runs it and waits; the counts by name."""
    pipeline = beam.Pipeline(options=pipeline_options(pipeline_args))
    _ = (
        pipeline
        | "Engagements" >> ReadTable("engagements", files)
        | "Histories" >> histories
        | "ClusterUsers" >> ClusterUsers(table, config, histories.as_of)
        | "WriteParquet"
        >> beam.io.WriteToParquet(str(folder / "part"), SCHEMA, file_name_suffix=".parquet")
    )
    result = pipeline.run()
    result.wait_until_finish()
    counts = job_counts(result)
    found = {name.removeprefix("histories/"): number for name, number in counts.items()}
    return {"rows": found.pop("rows/engagements", 0), **dict(sorted(found.items()))}


def _write_manifest(
    folder: Path,
    counts: dict[str, int],
    shares: PreprocessConfig,
    table: Path,
    config: ClusterConfig,
    splits: Sequence[str],
    attributed: bool,
) -> dict[str, Any]:
    """Checks what came out, and writes the manifest of the folder."""
    unreadable = counts.get("unreadable", 0)
    if unreadable > shares.max_reject_share * counts["rows"]:
        raise InputError(
            f"At most {shares.max_reject_share:.2%} of the engagements may be unreadable. Found: "
            f"{unreadable} of {counts['rows']}. See `tfrs-sage validate`; mend the table, or "
            "raise preprocess.max_reject_share."
        )
    if not counts.get("users"):
        raise InputError(
            "There must be actions to cluster: engagements of query_type `user` with a timestamp, "
            f"whose candidate is an embedded product. Found: none ({counts}). Take other splits, "
            "or rows of other query types that name a user_id (--attributed)."
        )
    first = next(iter(sorted(folder.glob("part-*.parquet"))))
    manifest = {
        "as_of": pq.ParquetFile(first).read(columns=["as_of"]).column(0)[0].as_py(),
        "splits": list(splits),
        "attributed": attributed,
        "config": config.model_dump(mode="json"),
        "counts": counts,
        "embeddings": {key: read_manifest(table)[key] for key in ("made_from", "dimension")},
        "versions": {name: version(name) for name in ("tfrs-sage", "apache-beam")},
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from its command line; options that it does not know go to Beam."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_pipelines.cluster_users",
        description="Engagements and item embeddings to users' clusters. Further options go to "
        "Beam, e.g. --direct_num_workers=2 --direct_running_mode=multi_processing.",
    )
    parser.add_argument("--input", required=True, help="folder of the tables")
    parser.add_argument("--run_dir", required=True, help="run folder with embeddings/product")
    parser.add_argument("--config", help="YAML file of the section `users`")
    parser.add_argument("--split", action="append", choices=SPLITS, help="default: train")
    parser.add_argument("--as_of", type=parse_time, help="ISO 8601; default: the newest action")
    parser.add_argument("--store", help="default: sqlite:///RUN/users/store.sqlite")
    parser.add_argument("--attributed", action="store_true", help="also rows that name a user_id")
    known, pipeline_args = parser.parse_known_args(argv)
    return cluster_users(
        known.run_dir,
        known.input,
        options.users_section(known.config),
        known.split or ("train",),
        known.as_of,
        known.store,
        known.attributed,
        pipeline_args=pipeline_args,
    )


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import cluster_users as module

    sys.exit(run_job(module.run))
