"""The rows of a batch by entity: what each tower sees in one call, and whose rows they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfrs_sage.schema.features import Task
from tfrs_sage.towers.features import concatenate_features
from tfrs_sage.types import Tensor

# Who a block of rows belongs to: (task, "query" | "candidate" | "negative") or
# ("random", entity).
Owner = tuple[str, str]


@dataclass
class Rows:
    """The rows of one entity, joined over all tasks and the random negatives.

    Attributes:
        features: of all rows, as the entity's tower takes them.
        owners: of the blocks, in order.
        counts: int32 scalar tensors, rows of each block.
    """

    features: dict[str, Any]
    owners: list[Owner]
    counts: list[Tensor]


def join_rows(batch: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Rows]:
    """By entity, the rows of every task's queries, candidates and mined negatives, then random."""
    parts: dict[str, list[tuple[Owner, Any, Tensor]]] = {}
    for task in tasks:
        pairs, name = batch["pairs"][str(task)], str(task)
        count = tf.shape(pairs["query_id"])[0]
        sides = [("query", task.query_entity), ("candidate", task.candidate_type)]
        if "negative" in pairs:
            sides.append(("negative", task.candidate_type))
        for side, entity in sides:
            parts.setdefault(entity, []).append(((name, side), pairs[side], count))
    for entity, negatives in batch.get("random", {}).items():
        count = tf.shape(negatives["id"])[0]
        parts.setdefault(entity, []).append((("random", entity), negatives["features"], count))
    return {
        entity: Rows(
            dict(concatenate_features([features for _, features, _ in blocks])),
            [owner for owner, _, _ in blocks],
            [count for _, _, count in blocks],
        )
        for entity, blocks in parts.items()
    }


def embed_rows(
    towers: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]], training: bool
) -> dict[str, Tensor]:
    """Embeddings of each entity's rows, float32 `[rows, dim]`; each tower runs once.

    Where towers read titles with the query tower's encoder, one call of it takes the titles of all
    entities and the queries.
    """
    given = {entity: dict(values) for entity, values in features.items()}
    texts = {entity: values["title"] for entity, values in given.items() if "title" in values}
    embeddings: dict[str, Tensor] = {}
    if texts:
        if "query" in given:
            texts["query"] = given.pop("query")
        counts = [tf.shape(text["token_ids"])[0] for text in texts.values()]
        rows = towers["query"](concatenate_features(list(texts.values())), training=training)
        for entity, piece in zip(texts, tf.split(rows, counts), strict=True):
            piece = tf.ensure_shape(piece, [None, rows.shape[-1]])
            if entity == "query":
                embeddings["query"] = piece
            else:
                given[entity]["title_embedding"] = piece
    for entity, values in given.items():
        embeddings[entity] = towers[entity](values, training=training)
    return embeddings


def split_rows(rows: Mapping[str, Rows], embeddings: Mapping[str, Tensor]) -> dict[Owner, Tensor]:
    """The embeddings `[rows, dim]` of each entity, back to whom they belong."""
    split = {}
    for entity, joined in rows.items():
        vectors = embeddings[entity]
        for owner, piece in zip(joined.owners, tf.split(vectors, joined.counts), strict=True):
            split[owner] = tf.ensure_shape(piece, [None, vectors.shape[-1]])
    return split


def num_rows(features: Mapping[str, Any]) -> Tensor:
    """How many rows the features of an entity have, int32 scalar."""
    for key, value in features.items():
        if isinstance(value, Mapping):
            if value:
                return num_rows(value)
        elif key != "text_tokens":
            return tf.shape(value)[0]
    raise ValueError(f"Features must have a field with rows. Received: {sorted(features)}.")


def slice_rows(features: Mapping[str, Any], start: Tensor, stop: Tensor) -> dict[str, Any]:
    """The rows from `start` to `stop`; the flat n-gram ids are cut where those rows' are."""
    sliced: dict[str, Any] = {}
    for key, value in features.items():
        if isinstance(value, Mapping):
            sliced[key] = slice_rows(value, start, stop)
        elif key == "text_tokens":
            ends = tf.cumsum(tf.reduce_sum(features["text_lengths"], axis=1))
            ends = tf.concat([[0], ends], axis=0)
            sliced[key] = value[ends[start] : ends[stop]]
        else:
            sliced[key] = value[start:stop]
    return sliced
