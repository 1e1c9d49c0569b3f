"""The figures of a run within the judged lists of its tables."""

from typing import Any

import numpy as np

from tfrs_sage.evaluation.judgments import evaluate_judgments
from tfrs_sage.report.run_vectors import RunVectors
from tfrs_sage.schema.reading import iter_batches, table_files


def judgment_figures(run: RunVectors, input: str, split: str) -> dict[str, Any] | None:
    """NDCG@10 within the judged lists; None where the tables have no judgments of the split.

    Args:
        run: the vectors of the run.
        input: the tables.
        split: judgments of another split are left out; those without a split belong to every one.

    Returns:
        As `evaluate_judgments`, and `num_left_out`: judgments of products that are not embedded.
    """
    if "judgments" not in table_files(input):
        return None
    columns: dict[str, list[Any]] = {"query": [], "product_id": [], "relevance": []}
    for _, _, batch in iter_batches(input, "judgments", 65_536):
        rows = batch.to_pylist()
        for row in rows:
            if row.get("split", split) == split:
                for name, values in columns.items():
                    values.append(row[name])
    if not columns["query"]:
        return None
    ids, vectors = run.entities("product")
    position = {one: row for row, one in enumerate(ids)}
    kept = [i for i, one in enumerate(columns["product_id"]) if one in position]
    texts = [columns["query"][i] for i in kept]
    products = vectors[[position[columns["product_id"][i]] for i in kept]]
    scores = np.einsum("nd,nd->n", run.texts(texts), products)
    owner = np.unique(texts, return_inverse=True)[1]
    relevance = [columns["relevance"][i] for i in kept]
    figures: dict[str, Any] = evaluate_judgments(owner, relevance, scores)
    return {**figures, "num_left_out": len(columns["query"]) - len(kept)}
