"""Whether a smaller query tower still finds what the trained one finds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_sage.artefacts import model_fingerprint, read_manifest, require_same
from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.pairs import pool_pairs, rows_of
from tfrs_sage.evaluation.retrieval_metrics import evaluate_task
from tfrs_sage.index.embeddings import read_embeddings
from tfrs_sage.schema.features import Task
from tfrs_sage.training.input_pipeline import read_pairs
from tfrs_sage.types import Tensor

RECALL_LOSS = 0.005  # of Recall@10, the most that an export may lose unless it is told otherwise
LEAST_COSINE = 0.999  # of equal towers: what mixed precision and rounding leave of 1
_BATCH = 256
Embed = Callable[[Tensor], Tensor]


def embed_texts(tower: Embed, texts: Sequence[str]) -> np.ndarray:
    """float32 `[n, d]`, in batches of like length."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = [
        tower(tf.constant([texts[i] for i in order[start : start + _BATCH]])).numpy()
        for start in range(0, len(order), _BATCH)
    ]
    vectors: np.ndarray = np.concatenate(parts)[np.argsort(order)]
    return vectors


def check_same(trained: Embed, exported: Embed, texts: Sequence[str]) -> None:
    """Refuses an export whose embeddings of real texts are not those of the trained tower.

    Raises:
        RuntimeError: the cosine of some text's two embeddings is below `LEAST_COSINE`.
    """
    cosines = np.sum(embed_texts(trained, texts) * embed_texts(exported, texts), axis=1)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= LEAST_COSINE:
        raise RuntimeError(
            f"the exported query tower must embed as the trained one, cosine {LEAST_COSINE} or "
            f"more. Found: {cosines[worst]:.4f} for {texts[worst]!r}."
        )


def held_out_pairs(run_dir: Path) -> tuple[str, list[str], list[str]]:
    """Split, queries and products of the held-out searches: validation, or else test.

    Raises:
        InputError: neither split has a search that led to a product.
    """
    counts: Mapping[str, Mapping[str, int]] = read_manifest(run_dir / "examples")["tasks"]
    searches = [
        name
        for name in sorted(counts)
        if (Task.parse(name).query_type, Task.parse(name).candidate_type) == ("search", "product")
    ]
    for split in ("validation", "test"):
        named = [name for name in searches if counts[name].get(split, 0)]
        if named:
            parts = [read_pairs(run_dir, name, split) for name in named]
            queries, products = ([one for part in parts for one in part[i]] for i in (0, 1))
            return split, queries, products
    raise InputError(
        "Smaller weights are taken when recall holds, which held-out searches for products tell. "
        f"Found: none in {run_dir}/examples. Export with --query-weights float32."
    )


def check_recall(
    run_dir: Path, product_tower: Path, trained: Embed, smaller: Embed, most_lost: float
) -> dict[str, Any]:
    """Compares two query towers by the held-out searches of a run, over all of its products.

    Args:
        run_dir: a run whose products are embedded.
        product_tower: version folder of the tower that they must have been embedded by.
        trained: the tower as it was trained, string `[n]` -> float32 `[n, d]`.
        smaller: the tower that is to be exported.
        most_lost: of Recall@10.

    Returns:
        `split`, `num_queries`, `num_pairs`, `index_size`; `recall@10` of the smaller tower and
        `trained_recall@10`; the mean and the least `cosine` of a query's two embeddings.

    Raises:
        InputError: no embeddings of this product tower, or no held-out searches.
        RuntimeError: the smaller tower loses more than `most_lost`.
    """
    embeddings = run_dir / "embeddings" / "product"
    require_same(
        embeddings,
        read_manifest(embeddings),
        {"model_fingerprint": model_fingerprint(product_tower)},
    )
    ids, vectors = read_embeddings(embeddings)
    split, queries, products = held_out_pairs(run_dir)
    distinct = sorted(set(queries))
    rows = rows_of(queries, distinct, "query"), rows_of(products, list(ids))
    towers = {"trained": trained, "smaller": smaller}
    found = {name: embed_texts(tower, distinct) for name, tower in towers.items()}
    figures = {
        name: evaluate_task(embedded, vectors, *pool_pairs([rows]), ks=(10,))
        for name, embedded in found.items()
    }
    cosines = np.sum(found["trained"] * found["smaller"], axis=1)
    report: dict[str, Any] = {
        "split": split,
        **{key: figures["smaller"][key] for key in ("num_queries", "num_pairs", "index_size")},
        "recall@10": figures["smaller"]["recall@10"],
        "trained_recall@10": figures["trained"]["recall@10"],
        "cosine_mean": float(cosines.mean()),
        "cosine_least": float(cosines.min()),
    }
    lost = report["trained_recall@10"] - report["recall@10"]
    if not lost <= most_lost:
        raise RuntimeError(
            f"Smaller weights of the query tower may lose {most_lost:g} of Recall@10. Found: "
            f"{lost:.4f} lost, from {report['trained_recall@10']:.4f} to "
            f"{report['recall@10']:.4f} ({split}, {report['num_pairs']} pairs; mean cosine "
            f"{report['cosine_mean']:.5f}). Nothing was written. Take a format of more bits, or "
            "allow it with --recall-loss."
        )
    return report
