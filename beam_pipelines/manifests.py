"""What a preprocessing job leaves to its readers: manifests, WordPiece, the summary."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_pipelines.catalogue import ENTITY_TABLES
from beam_pipelines.records import collect, files_of
from beam_pipelines.rejects import reasons_of
from tfrs_sage.artefacts import MANIFEST, file_sha256, fingerprint, write_json
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.features import (
    ENTITY_TEXTS,
    IMAGE_DIM,
    IMAGES,
    SPLITS,
    VECTOR_SUFFIX,
    EntitySpec,
)

HALF_BYTES = 2  # vectors are stored as float16
NGRAMS = ("unigram", "bigram", "char_trigram")
VOCABULARIES = (*NGRAMS, "wordpiece")


def write_manifests(
    folders: Mapping[str, Path],
    counts: dict[str, int],
    tables: Sequence[str],
    config: PreprocessConfig,
    versions: dict[str, str],
) -> dict[str, Any]:
    """Writes the manifests of the three folders, last of all.

    Returns:
        The summary of the job.
    """
    left = collect(folders["catalogue"])
    stored = ngram_fingerprint(folders["vocabulary"]) if config.store_ngram_ids else None
    specs = {
        value["entity"]: entity_spec(value["entity"], value["fields"], value["count"], stored)
        for value in sorted((v for v in left if "entity" in v), key=lambda v: v["entity"])
    }
    catalogue_files = files_of(value for value in left if "file" in value)
    statistics = collect(folders["examples"])
    tasks = task_counts(statistics)
    pairs = pair_counts(counts, tasks)
    common: dict[str, Any] = {
        "schema_hash": schema_hash(specs),
        "entities": {entity: spec.to_json() for entity, spec in specs.items()},
        "image_encoder": _encoder(config, counts),
        "config": config.model_dump(),
        "versions": versions,
    }
    sizes = write_vocabulary(folders["vocabulary"], config, common["schema_hash"])
    entity_counts = {entity: spec.count for entity, spec in specs.items()}
    write_json(
        folders["catalogue"] / MANIFEST,
        {**common, "files": catalogue_files, "counts": entity_counts},
    )
    write_json(
        folders["examples"] / MANIFEST,
        {**common, "tasks": tasks, "files": files_of(statistics), "counts": pairs},
    )
    return {
        "tables": {
            table: {
                "rows": counts.get(f"rows/{table}", 0),
                "rejected": counts.get(f"rejected/{table}", 0),
                "reasons": reasons_of(counts, table),
            }
            for table in tables
        },
        "pairs": pairs,
        "tasks": tasks,
        "entities": entity_counts,
        "vocabulary": sizes,
        "images": {name: counts.get(f"images/{name}", 0) for name in ("encoded", "broken")},
        "enrichments": {
            name.removeprefix("enrichments/"): number
            for name, number in sorted(counts.items())
            if name.startswith("enrichments/")
        },
    }


def entity_spec(
    entity: str, sizes: Mapping[str, int], count: int, ngram_vocabulary: str | None = None
) -> EntitySpec:
    """The spec of an entity from the largest size in bytes of each field of its records."""
    return EntitySpec(
        entity,
        tuple(name for name in ENTITY_TEXTS[entity] if name in sizes),
        sizes.get(IMAGES, 0) // (IMAGE_DIM * HALF_BYTES),
        {
            name: size // HALF_BYTES
            for name, size in sorted(sizes.items())
            if name.endswith(VECTOR_SUFFIX)
        },
        count,
        ngram_vocabulary if entity in ENTITY_TABLES else None,
    )


def ngram_fingerprint(vocabulary: Path) -> str:
    """What n-gram ids are bound to: 16 hex digits of the three n-gram vocabularies."""
    return fingerprint([file_sha256(vocabulary / f"{kind}.txt") for kind in NGRAMS])


def schema_hash(specs: Mapping[str, EntitySpec]) -> str:
    """16 hex digits of what readers must agree on: fields and widths, not counts or stored ids."""
    shapes = {entity: spec.to_json() for entity, spec in specs.items()}
    for shape in shapes.values():
        del shape["count"], shape["ngram_vocabulary"]
    return fingerprint(shapes)


def task_counts(statistics: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Number of pairs by task and split, in order, from what was written."""
    tasks: dict[str, dict[str, int]] = {}
    for value in sorted(statistics, key=lambda value: value["file"]):
        split, task = value["group"].split("/", 1)
        splits = tasks.setdefault(task, {})
        splits[split] = splits.get(split, 0) + value["records"]
    return {
        task: {split: tasks[task][split] for split in SPLITS if split in tasks[task]}
        for task in sorted(tasks)
    }


def pair_counts(counts: Mapping[str, int], tasks: Mapping[str, Any]) -> dict[str, int]:
    """Where the rows of the engagements went; they sum up to `rows`."""
    capped = {
        side: counts.get(f"cap/{side}/in", 0) - counts.get(f"cap/{side}/out", 0)
        for side in ("query", "candidate")
    }
    return {
        "rows": counts.get("rows/engagements", 0),
        "examples": sum(sum(splits.values()) for splits in tasks.values()),
        "rejected": counts.get("rejected/engagements", 0),
        "merged": counts.get("engagements/merged", 0),
        "capped_per_query": capped["query"],
        "capped_per_candidate": capped["candidate"],
        "user_rows": counts.get("engagements/user_rows", 0),
    }


def write_vocabulary(folder: Path, config: PreprocessConfig, schema: str) -> dict[str, int]:
    """Learns WordPiece from the counted words and writes the folder's manifest.

    Returns:
        Number of tokens by kind.
    """
    from tfrs_sage.text import learn_wordpiece  # TensorFlow: only when it is needed

    counted = [tuple(item) for value in collect(folder) for item in value["counts"]]
    pieces = learn_wordpiece(counted, config.wordpiece_size)
    (folder / "wordpiece.txt").write_bytes("".join(f"{piece}\n" for piece in pieces).encode())
    sizes, files = {}, {}
    for kind in VOCABULARIES:
        path = folder / f"{kind}.txt"
        sizes[kind] = path.read_bytes().count(b"\n")
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    manifest = {
        "schema_hash": schema,
        "ngram_vocabulary": ngram_fingerprint(folder),
        "sizes": sizes,
        "min_count": config.min_count,
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)
    return sizes


def _encoder(config: PreprocessConfig, counts: Mapping[str, int]) -> dict[str, Any]:
    """Name and fingerprint of the image encoder; no fingerprint where no image was encoded."""
    from tfrs_sage.vision import image_encoder

    used = counts.get("images/encoded", 0) > 0
    return {
        "name": config.image_encoder,
        "fingerprint": image_encoder(config.image_encoder).fingerprint() if used else None,
    }
