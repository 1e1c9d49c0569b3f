"""Why a product has the rank that it has: what of it carries the score, and what beat it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import read_manifest
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.data_checks import normalised
from tfrs_sage.evaluation.ranking import rank_pairs, top_k
from tfrs_sage.export.savedmodel import latest_version, run_source
from tfrs_sage.report.catalogue_fields import IMAGE_BYTES, records_of
from tfrs_sage.report.run_vectors import RunVectors
from tfrs_sage.schema.features import ID, IMAGES, NGRAMS_SUFFIX, EntitySpec

LEAST_COSINE = 0.999  # of a product's stored embedding and its tower's; else they are of two models
Record = Mapping[str, bytes]  # fields by name; what is absent is not there


@dataclass(frozen=True)
class Asked:
    """What is searched with: `vector` `[d]`, and the text or the product that it is of."""

    vector: np.ndarray
    text: str | None = None
    product: str | None = None


def explain(
    run_dir: Path,
    root: Path,
    product: str,
    query: str | None = None,
    similar_to: str | None = None,
    k: int = 5,
) -> dict[str, Any]:
    """The score and rank of one product, what carries them, and the products above it.

    What a field or an image carries is the score with all of the product less the score without
    it, the product embedded anew by the exported tower each time. These drops do not add up: two
    fields that say the same stand in for each other, which `all texts` and `all images` show.

    Args:
        run_dir: a run whose towers are exported and whose products are embedded.
        root: the folder of its exported models.
        product: id of the product to explain.
        query: what was searched with, a text;
        similar_to: or the id of another product, which is then no candidate itself.
        k: so many of the products above it.

    Returns:
        `query` or `similar_to`; `product`, `title`, `score`, `rank`, `of` (candidates); `parts`,
        largest drop first: `part`, `value`, `drop`, `score_without`, `rank_without`; `missing`,
        fields that the product lacks and others have; `matches` (`matching_fields`); `above`, best
        first, or where it is the first `below`, the next ones: `product_id`, `title`, `rank`,
        `score`, `matches`, and `only_there`: what matches there and not here.

    Raises:
        InputError: not one of `query` and `similar_to`, an unknown product, or embeddings that are
            not those of the exported tower.
    """
    if (query is None) == (similar_to is None) or product == similar_to:
        raise InputError(
            "explain needs one thing that was searched with, --query TEXT or --similar-to another "
            f"product. Received: query {query!r}, similar-to {similar_to!r}, product {product!r}."
        )
    run = RunVectors(run_dir, root)
    ids, vectors = run.entities("product")
    rows = {str(one): row for row, one in enumerate(ids)}
    for one in filter(None, (product, similar_to)):
        if one not in rows:
            raise InputError(
                f"--product and --similar-to name products of the run. Received: {one!r}, which is "
                f"none of its {len(rows)} products."
            )
    asked = Asked(run.texts([query])[0], text=query) if query is not None else None
    if similar_to is not None:
        asked = Asked(vectors[rows[similar_to]], product=similar_to)
        vectors = np.delete(vectors, rows[similar_to], axis=0)
        ids = np.delete(ids, rows[similar_to])
        rows = {str(one): row for row, one in enumerate(ids)}
    assert asked is not None
    row = rows[product]
    rank = int(rank_pairs(asked.vector[None], vectors, [0], [row])[0])
    others = _neighbours(asked, vectors, row, rank, k)
    wanted = [product, *(str(ids[one]) for _, one in others), *filter(None, [similar_to])]
    records = read_records(run_dir, "product", set(wanted))
    scores = vectors @ asked.vector
    ours = matching_fields(asked, records, records[product])
    spec = EntitySpec.from_json(read_manifest(run_dir / "catalogue")["entities"]["product"])
    result: dict[str, Any] = {
        **({"query": query} if query is not None else {"similar_to": similar_to}),
        "product": product,
        "title": _text(records[product], "title"),
        "score": float(scores[row]),
        "rank": rank,
        "of": len(rows),
        "parts": _parts(run, spec, records[product], asked, vectors, row, scores),
        "missing": [
            name
            for name in (*spec.texts, *spec.vectors, *([IMAGES] if spec.max_images else []))
            if not records[product].get(name)
        ],
        "matches": ours,
    }
    result["above" if rank > 1 else "below"] = [
        {
            "product_id": (name := str(ids[other])),
            "title": _text(records[name], "title"),
            "rank": place,
            "score": float(scores[other]),
            "matches": (theirs := matching_fields(asked, records, records[name])),
            "only_there": [one for one in theirs if one not in ours],
        }
        for place, other in others
    ]
    return result


def _neighbours(
    asked: Asked, vectors: np.ndarray, row: int, rank: int, k: int
) -> list[tuple[int, int]]:
    """Rank and row of the best `k` above a product; of the first one, of the next `k`."""
    found, _ = top_k(asked.vector[None], vectors, k + 1 if rank == 1 else min(k, rank - 1))
    return [(place + 1, int(one)) for place, one in enumerate(found[0]) if one != row]


def _parts(
    run: RunVectors,
    spec: EntitySpec,
    record: Record,
    asked: Asked,
    vectors: np.ndarray,
    row: int,
    scores: np.ndarray,
) -> list[dict[str, Any]]:
    """What the score is without each part of the product, largest drop first."""
    masks = masked(record, spec)
    tower = tf.saved_model.load(
        str(latest_version(run.root, "product_tower", run_source(run.run_dir)))
    )
    examples = [_serialized(record), *(_serialized(one) for _, one in masks.values())]
    embedded = tower.signatures["serving_tf_example"](examples=tf.constant(examples))
    whole, *without = embedded["embedding"].numpy()
    cosine = float(whole @ vectors[row])
    if cosine < LEAST_COSINE:
        raise InputError(
            "The run's embeddings must be those of its exported product tower. Found: a cosine of "
            f"{cosine:.4f} for {_text(record, ID)!r}. Run `tfrs-sage embed` again."
        )
    others = np.delete(scores, row)
    parts = []
    for (part, (value, _)), vector in zip(masks.items(), without, strict=True):
        score = float(vector @ asked.vector)
        parts.append(
            {
                "part": part,
                "value": value,
                "drop": float(whole @ asked.vector) - score,
                "score_without": score,
                "rank_without": 1 + int((others > score).sum()),
            }
        )
    return sorted(parts, key=lambda one: -one["drop"])


def masked(record: Record, spec: EntitySpec) -> dict[str, tuple[str, Record]]:
    """A record without each of its parts in turn.

    Args:
        record: of one entity.
        spec: what its tower takes.

    Returns:
        By part, what it holds and the record without it: each text, `image 1` and so on, each
        further vector; where there are several of a kind, also `all texts` and `all images`.
    """
    texts = [name for name in spec.texts if record.get(name)]
    found = {name: (_text(record, name), _without(record, [name])) for name in texts}
    images = record.get(IMAGES, b"") if spec.max_images else b""
    for start in range(0, len(images), IMAGE_BYTES):
        rest = images[:start] + images[start + IMAGE_BYTES :]
        without = {**_without(record, [IMAGES]), **({IMAGES: rest} if rest else {})}
        found[f"image {start // IMAGE_BYTES + 1}"] = ("", without)
    for name in (name for name in spec.vectors if record.get(name)):
        found[name] = ("", _without(record, [name]))
    if len(texts) > 1:
        found["all texts"] = ("", _without(record, texts))
    if len(images) > IMAGE_BYTES:
        found["all images"] = ("", _without(record, [IMAGES]))
    return found


def matching_fields(
    asked: Asked, records: Mapping[str, Record], record: Record
) -> dict[str, list[str]]:
    """What of a search is found in a product's texts, word for word.

    Of a text query: each of its words, and the fields that have it. Of a product: each field that
    says the same in both, by name, with itself.
    """
    texts = {
        name: normalised(value.decode())
        for name, value in record.items()
        if name not in (ID, IMAGES) and not name.endswith((NGRAMS_SUFFIX, "_embedding"))
    }
    if asked.text is not None:
        words = dict.fromkeys(normalised(asked.text).split())
        places = {word: [n for n, text in texts.items() if word in text.split()] for word in words}
        return {word: names for word, names in places.items() if names}
    other = records[str(asked.product)]
    return {
        name: [name]
        for name, text in texts.items()
        if text and normalised(other.get(name, b"").decode()) == text
    }


def read_records(run_dir: Path, entity: str, wanted: Collection[str]) -> dict[str, Record]:
    """The records of some products or pins, by id, as `catalogue/` holds them."""
    found: dict[str, Record] = {}
    for name, record in records_of(run_dir, entity, wanted):
        features = tf.train.Example.FromString(record).features.feature
        found[name] = {
            field: feature.bytes_list.value[0]
            for field, feature in features.items()
            if feature.bytes_list.value
        }
    return found


def _serialized(record: Record) -> bytes:
    example = tf.train.Example()
    for name, value in record.items():
        example.features.feature[name].bytes_list.value.append(value)
    serialized: bytes = example.SerializeToString()
    return serialized


def _without(record: Record, names: Collection[str]) -> Record:
    """The record without some fields, and without the n-gram ids of their texts."""
    hidden = {*names, *(name + NGRAMS_SUFFIX for name in names)}
    return {name: value for name, value in record.items() if name not in hidden}


def _text(record: Record, name: str) -> str:
    return record.get(name, b"").decode()
