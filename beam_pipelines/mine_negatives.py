"""Hard negatives of the training pairs, mined with the embeddings of the last epoch.

    python -m beam_pipelines.mine_negatives --run_dir RUN [--depth=50 --margin=0.05 --runner=...]

Only the train split is read. A pair of the validation or test split tells no positive either: a
negative left out because of it would carry what is to be predicted into the training.
"""

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from beam_pipelines.command_line import run_job
from beam_pipelines.counters import job_counts
from beam_pipelines.hard_negatives import MiningConfig, group_of
from beam_pipelines.local_runner import pipeline_options
from beam_pipelines.mined_records import MineNegatives, ReadCatalogue, ReadPairs, ReadVectors
from beam_pipelines.mining_counts import require_known, task_counts
from beam_pipelines.records import WriteShards, collect, files_of
from tfrs_sage.artefacts import MANIFEST, fingerprint, read_manifest, whole_folder, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.index import build_index, load_index, read_embeddings
from tfrs_sage.schema.features import Task

_LOG = logging.getLogger(__name__)
INDEXES = ".indexes"  # sub-folder of the indexes that workers load; removed at the end


def mine_negatives(
    run_dir: str | Path,
    config: MiningConfig | None = None,
    tasks: Sequence[str] | None = None,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes `RUN/mined/<task>-*.tfrecord` with a manifest; the folder appears as a whole.

    A record is the record of a train pair, and the fields of one hard negative prefixed with
    `negative/` where there is one.

    Args:
        run_dir: a run with examples, catalogue and embeddings, in a place all workers reach.
        config: settings.
        tasks: whose pairs get negatives; None for all with train pairs.
        pipeline_args: Beam's pipeline options; a local runner where none is named.

    Returns:
        The manifest: what it was mined with, `tasks` (pairs, pairs with a negative, what became
        of the candidates looked at, mean rank from 1 and mean score of the chosen), `files`.

    Raises:
        InputError: no examples, no embeddings, an unknown task, or embeddings that lack
            entities of the examples.
        ImportError: an approximate index is needed and ScaNN is not installed.
    """
    started = time.monotonic()
    run, config = Path(run_dir), config or MiningConfig()
    examples = read_manifest(run / "examples")
    pairs = {name: n["train"] for name, n in examples["tasks"].items() if n.get("train")}
    wanted = _wanted(tasks, pairs)
    embedded = _embedded(run, wanted)
    _LOG.info("mining negatives of %d pairs", sum(pairs[task] for task in wanted))
    with whole_folder(run / "mined") as folder:
        candidates = {Task.parse(task).candidate_type for task in wanted}
        indexes = {e: _index(run, e, folder, config.exact_below) for e in sorted(candidates)}
        counts = _run(run, folder, examples, wanted, indexes, config, pipeline_args)
        require_known(counts, run)
        shutil.rmtree(folder / INDEXES, ignore_errors=True)  # absent where the run's own is used
        manifest = {
            "schema_hash": examples["schema_hash"],
            "examples": fingerprint(examples["files"]),
            "embeddings": embedded,
            **asdict(config),
            "tasks": {task: task_counts(task, counts) for task in wanted},
            "files": files_of(collect(folder)),
        }
        write_json(folder / MANIFEST, manifest)
    _LOG.info("mined in %.1f s: %s", time.monotonic() - started, json.dumps(manifest["tasks"]))
    return manifest


def _wanted(tasks: Sequence[str] | None, pairs: Mapping[str, int]) -> list[str]:
    """The tasks to mine for, in order; each must be among those with train `pairs`."""
    unknown = sorted(set(tasks or ()) - set(pairs))
    if unknown or not pairs:
        raise InputError(
            f"a task must have train pairs. Received: {', '.join(unknown) or 'no tasks'}; there "
            f"are {', '.join(sorted(pairs)) or 'none'}."
        )
    return sorted(set(tasks or pairs))


def _embedded(run: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """What the manifests of the embeddings say, of every entity of the tasks."""
    parsed = [Task.parse(task) for task in tasks]
    entities = {task.query_entity for task in parsed} | {task.candidate_type for task in parsed}
    absent = [e for e in sorted(entities) if not (run / "embeddings" / e / MANIFEST).is_file()]
    if absent:
        raise InputError(
            f"negatives are mined among embeddings. Found: none of {', '.join(absent)} in "
            f"{run / 'embeddings'}. Run `tfrs-sage embed --dir {run}` first."
        )
    found = {entity: read_manifest(run / "embeddings" / entity) for entity in sorted(entities)}
    if len({value["dimension"] for value in found.values()}) > 1:
        widths = ", ".join(f"{entity}: {value['dimension']}" for entity, value in found.items())
        raise InputError(
            f"embeddings that are compared must have one dimension. Found: {widths}. "
            f"Run `tfrs-sage embed --dir {run}` again."
        )
    return found


def _index(run: Path, entity: str, folder: Path, exact_below: int) -> Path:
    """Folder of an index over all embeddings of an entity: the run's own, else a new one."""
    ids, vectors = read_embeddings(run / "embeddings" / entity)
    kind = "brute_force" if len(ids) < exact_below else "scann"
    saved = run / "index" / entity
    if kind == "scann" and (saved / MANIFEST).is_file():
        index = load_index(saved)
        # These very embeddings, not those of an earlier epoch.
        if np.array_equal(index.ids, ids) and np.array_equal(index.vectors, vectors):
            return saved
    _LOG.info("building a %s index over %d embeddings of %s", kind, len(ids), entity)
    return build_index(vectors, ids, kind).save(folder / INDEXES / entity)


def _run(
    run: Path,
    folder: Path,
    examples: Mapping[str, Any],
    tasks: Sequence[str],
    indexes: Mapping[str, Path],
    config: MiningConfig,
    pipeline_args: Sequence[str],
) -> dict[str, int]:
    """Runs the pipeline and waits; returns the job's counters by name."""
    pipeline = beam.Pipeline(options=pipeline_options(pipeline_args))

    def read(name: str, reader: beam.DoFn, files: Sequence[tuple[str, str]]) -> Any:
        listed = pipeline | f"Files{name}" >> beam.Create(files)
        return listed | f"Spread{name}" >> beam.Reshuffle() | f"Read{name}" >> beam.ParDo(reader)

    groups = sorted({group_of(task) for task in tasks})
    pairs = read("Pairs", ReadPairs(), _pair_files(run, examples, groups))
    vectors = read("Vectors", ReadVectors(), _vector_files(run, groups))
    records = read(
        "Catalogue",
        ReadCatalogue(),
        [(e, str(path)) for e in indexes for path in (run / "catalogue").glob(f"{e}-*.tfrecord")],
    )
    _ = (
        {"pairs": pairs, "vectors": vectors, "records": records}
        | "MineNegatives" >> MineNegatives(indexes, tasks, config)
        | "WriteMined" >> WriteShards(folder, examples["config"]["shard_bytes"])
    )
    result = pipeline.run()
    result.wait_until_finish()
    return job_counts(result)


def _pair_files(
    run: Path, examples: Mapping[str, Any], groups: Sequence[str]
) -> list[tuple[str, str]]:
    """`(task, path)` of the train pairs of the groups, all actions."""
    files = []
    for name in examples["files"]:
        split, task = name.rsplit("-", 3)[0].split("/", 1)  # split/task-00000-of-00001.tfrecord
        if split == "train" and group_of(task) in groups:
            files.append((task, str(run / "examples" / name)))
    return files


def _vector_files(run: Path, groups: Sequence[str]) -> list[tuple[str, str]]:
    """`(group, path)` of the embeddings of each group's queries."""
    return [
        (group, str(path))
        for group in groups
        for path in (run / "embeddings" / Task.parse(f"{group}/any").query_entity).glob("part-*")
    ]


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from its command line; options that it does not know go to Beam."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_pipelines.mine_negatives",
        description="Hard negatives of the training pairs. Further options go to Beam.",
    )
    parser.add_argument("--run_dir", required=True, help="run folder with embeddings")
    parser.add_argument("--task", action="append", help="a task to mine for; all by default")
    for field in fields(MiningConfig):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    known, pipeline_args = parser.parse_known_args(argv)
    config = MiningConfig(*(getattr(known, field.name) for field in fields(MiningConfig)))
    return mine_negatives(known.run_dir, config, known.task, pipeline_args)


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import mine_negatives as module

    sys.exit(run_job(module.run))
