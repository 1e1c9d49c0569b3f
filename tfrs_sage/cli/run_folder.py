"""A run as its steps: what each needs, whether it is done, how it is done."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfrs_sage.artefacts import MANIFEST, fingerprint, write_json
from tfrs_sage.errors import InputError
from tfrs_sage.training.config import (
    RunConfig,
    learned_from,
    load_config,
    read_config,
    save_config,
)

logger = logging.getLogger(__name__)
STEPS_FILE = "steps.json"


@dataclass
class RunFolder:
    """One run: its folder, its tables, its configuration.

    Each step's inputs are a fingerprint of the tables' files, of the sections of the
    configuration that it reads and of the step before: a step whose fingerprint is the one that
    it was last done with is skipped by `run`.

    Attributes:
        path: the run folder.
        config: resolved configuration.
        input: folder of the tables.
        saved_models: folder of the exported models.
        beam_args: options for the Beam jobs.
    """

    path: Path
    config: RunConfig
    input: str | None = None
    saved_models: Path | None = None
    beam_args: Sequence[str] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, **changes: Any) -> "RunFolder":
        """A run that exists, with the configuration and the tables that it was made with."""
        config, state = read_config(path / "config.yaml"), read_state(path)
        models = state.get("saved_models")
        values = {"input": state.get("input"), "saved_models": Path(models) if models else None}
        return cls(
            path, config, **{**values, **{k: v for k, v in changes.items() if v is not None}}
        )

    @property
    def root(self) -> Path:
        """The folder of the exported models."""
        return self.saved_models or self.path / "saved_models"

    def save(self) -> None:
        """Writes `config.yaml`."""
        self.path.mkdir(parents=True, exist_ok=True)
        save_config(self.config, self.path / "config.yaml")

    def changed(self, settings: Sequence[str]) -> RunConfig:
        """The run's own configuration with `key=value` settings changed."""
        from tfrs_sage.index.prefix import check_prefix

        config = load_config("base", self.path / "config.yaml", settings)
        if config.index.prefix is not None:
            check_prefix(config.index.prefix, config.embedding_dim)
        return config

    def change(self, settings: Sequence[str]) -> None:
        """Changes `key=value` settings of the run's own configuration, for good."""
        if settings:
            self.config = self.changed(settings)
            self.save()

    def inputs(self, step: str) -> str:
        """Fingerprint of everything that decides what a step makes."""
        sections: dict[str, Any] = {
            "preprocess": self.config.preprocess.model_dump(mode="json"),
            "train": learned_from(self.config),
            "index": self.config.index.model_dump(mode="json"),
        }
        before = {"train": "preprocess", "towers": "train", "embed": "towers", "index": "embed"}
        before["retrieval"] = "index"
        upstream = self.inputs(before[step]) if step in before else self._table_files()
        return fingerprint([step, sections.get(step), upstream])

    def _table_files(self) -> Any:
        from tfrs_sage.schema.reading import table_files

        if self.input is None:
            return None
        files = [path for paths in table_files(self.input).values() for path in paths]
        files += [f"{folder}/{MANIFEST}" for folder in self.config.preprocess.enrichments]
        return [
            (path, os.path.getsize(path), os.path.getmtime(path)) if os.path.exists(path) else path
            for path in sorted(files)
        ]

    def has_output(self, step: str) -> bool:
        """Whether what the step made is still there."""
        folder, pattern = {
            "preprocess": (self.path, "examples/manifest.json"),
            "train": (self.path, "checkpoints/*/manifest.json"),
            "towers": (self.root, "*_tower/*/manifest.json"),
            "embed": (self.path, "embeddings/*/manifest.json"),
            "index": (self.path, "index/product/manifest.json"),
            "retrieval": (self.root, "retrieval/*/manifest.json"),
        }[step]
        return any(folder.glob(pattern))

    def is_done(self, step: str) -> bool:
        """Whether the step was last done with these inputs, and what it made is there."""
        done = read_state(self.path)["done"].get(step)
        return done == self.inputs(step) and self.has_output(step)

    def index_input(self) -> tuple[Any, Any, Any]:
        """Ids and vectors of the products, and the text queries' or None, as they are searched."""
        from tfrs_sage.index import cut_to_prefix, read_embeddings

        prefix = self.config.index.prefix
        ids, vectors = read_embeddings(self.path / "embeddings" / "product")
        queries = None
        if (self.path / "embeddings" / "query" / MANIFEST).is_file():
            queries = cut_to_prefix(read_embeddings(self.path / "embeddings" / "query")[1], prefix)
        return ids, cut_to_prefix(vectors, prefix), queries

    def do(self, step: str, skip_done: bool = False) -> dict[str, Any] | None:
        """Does one step and notes it; None where it was done already and `skip_done`."""
        inputs = self.inputs(step)
        if skip_done and self.is_done(step):
            logger.info("%s: done already, with the same inputs and configuration", step)
            return None
        logger.info("%s: begins", step)
        result = STEPS[step](self)
        state = read_state(self.path)
        state["done"][step] = inputs
        state["input"] = os.path.abspath(self.input) if self.input else state.get("input")
        state["saved_models"] = str(self.root.resolve())
        write_json(self.path / STEPS_FILE, state)
        logger.info("%s: done", step)
        return result


def read_state(path: Path) -> dict[str, Any]:
    """What a run folder notes of itself: steps done, tables, folder of the exported models."""
    file = path / STEPS_FILE
    state = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {"done": {}, **state}


def _preprocess(run: RunFolder) -> dict[str, Any]:
    from beam_pipelines.preprocess import preprocess

    if run.input is None:
        raise InputError("preprocess needs the folder of the tables. Received: none. Give --input.")
    return preprocess(run.input, str(run.path), run.config.preprocess, list(run.beam_args))


def _train(run: RunFolder) -> dict[str, Any]:
    from tfrs_sage.training.fit import train

    return train(run.path, run.config)


def _towers(run: RunFolder) -> dict[str, Any]:
    from tfrs_sage.export.towers import export_towers

    return {name: str(path) for name, path in export_towers(run.path, run.config, run.root).items()}


def _embed(run: RunFolder) -> dict[str, Any]:
    from beam_pipelines.embed import embed
    from tfrs_sage.export.towers import export_towers

    towers = export_towers(run.path, run.config, run.root)
    entities = {"product_tower": "product", "pin_tower": "pin", "query_tower": "query"}
    result = {}
    for name, folder in towers.items():
        entity = entities[name]
        if any((run.path / "catalogue").glob(f"{entity}-*.tfrecord")):
            result[entity] = embed(run.path, entity, folder, list(run.beam_args))
    return result


def _index(run: RunFolder) -> dict[str, Any]:
    from tfrs_sage.index import build_index
    from tfrs_sage.index.embeddings import read_attributes

    settings = run.config.index
    ids, vectors, queries = run.index_input()
    attributes = None
    if settings.attributes:
        if run.input is None:
            raise InputError(
                "index.attributes are read from the run's tables. Received: a run without any. "
                "Make the run with --input, or leave index.attributes empty."
            )
        attributes = read_attributes(run.input, "products", settings.attributes, ids)
    index = build_index(
        vectors,
        ids,
        settings.kind,
        settings.recall_target,
        attributes=attributes,
        queries=queries,
    )
    index.report["prefix"] = settings.prefix
    index.save(run.path / "index" / "product")
    return index.manifest()


def _retrieval(run: RunFolder) -> dict[str, Any]:
    from tfrs_sage.export.retrieval import export_retrieval
    from tfrs_sage.export.retrieval_scann import export_retrieval_scann
    from tfrs_sage.export.savedmodel import LoadedQueryTower, latest_version, run_source
    from tfrs_sage.export.warmup import catalogue_records, query_texts
    from tfrs_sage.index import load_index, read_embeddings

    if not (run.root / "query_tower").is_dir():
        logger.warning("the retrieval models take texts: without a text query there is none")
        return {}
    ids, vectors = read_embeddings(run.path / "embeddings" / "product")
    source, settings = run_source(run.path), run.config.index
    tower = LoadedQueryTower(latest_version(run.root, "query_tower", source))
    names = [str(one) for one in ids]
    queries = [text.decode() for text in query_texts(catalogue_records(run.path, "query"))]
    shared: dict[str, Any] = {
        "recall_target": settings.recall_target,
        "prefix": settings.prefix,
        "manifest": source,
    }
    scann = settings.kind == "scann"
    # The run's own index is taken where it is one for stock ops; else one is built by size.
    own = None if scann or not run.is_done("index") else load_index(run.path / "index" / "product")
    kind = "auto" if scann else settings.kind
    path = export_retrieval(
        tower, vectors, names, run.root, queries, kind=kind, index=own, **shared
    )
    exported = {"retrieval": str(path)}
    if scann:
        path = export_retrieval_scann(tower, vectors, names, run.root, queries, **shared)
        exported["retrieval_scann"] = str(path)
    return exported


STEPS: Mapping[str, Callable[[RunFolder], dict[str, Any]]] = {
    "preprocess": _preprocess,
    "train": _train,
    "towers": _towers,
    "embed": _embed,
    "index": _index,
    "retrieval": _retrieval,
}
