"""What the data of a run is: fields, lengths, popularity, splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_sage.evaluation.data_checks import words_of
from tfrs_sage.report.catalogue_fields import CatalogueFields
from tfrs_sage.report.page.charts import Line, Row, histogram, interval_rows, line_chart
from tfrs_sage.report.page.material import Material
from tfrs_sage.schema.features import SPLITS

IMAGE_BINS = ((0, "0"), (1, "1"), (2, "2"), (3, "3-5"), (6, "6-10"), (11, "11-20"))
CURVE_POINTS = 60
TOPS = (0.01, 0.1)  # shares of the catalogue whose share of the pairs is told


def data_section(run: Material) -> dict[str, Any]:
    """Fields of the catalogue, pairs of every task by split, popularity of what is searched."""
    kinds = [entity for entity in ("product", "pin") if entity in run.specs]
    return {
        "entities": [_entity(run, entity) for entity in kinds],
        "queries": run.specs["query"].count if "query" in run.specs else 0,
        "splits": [
            {"task": task, **{split: counts.get(split, 0) for split in SPLITS}}
            for task, counts in sorted(run.counts.items())
        ],
        "split_names": SPLITS,
        "popularity": [
            popularity for entity in kinds if (popularity := _popularity(run, entity)) is not None
        ],
    }


def _entity(run: Material, entity: str) -> dict[str, Any]:
    fields, spec = run.texts.fields(entity), run.specs[entity]
    count = len(fields.rows)
    images = int((fields.num_images > 0).sum())
    rows = [("image", images), *((n, filled(values)) for n, values in fields.texts.items())]
    shares = [
        Row(name, number / count, text=f"{number / count:.1%} ({number:,})")
        for name, number in rows
    ]
    label = f"Share of the {count:,} {entity}s that have each field: " + ", ".join(
        f"{row.label} {row.value:.0%}" for row in shares
    )
    return {
        "entity": entity,
        "count": count,
        "fields": interval_rows(shares, label, bars=True),
        "fields_caption": f"Rows of {count:,} {entity}s whose field is filled.",
        "lengths": [
            {"field": name, **lengths}
            for name, values in fields.texts.items()
            if (lengths := text_lengths(values))
        ],
        "images": _images(entity, fields) if images else None,
        "vectors": dict(spec.vectors),
        "never": [name for name, number in rows if not number],
    }


def filled(values: Sequence[str]) -> int:
    """How many texts have a letter."""
    return sum(bool(value.strip()) for value in values)


def text_lengths(values: Sequence[str]) -> dict[str, Any] | None:
    """Words of the texts that there are: mean, median, 90th percentile, most; None for none."""
    words = words_of([value for value in values if value.strip()])
    if not len(words):
        return None
    return {
        "mean": float(words.mean()),
        "median": float(np.median(words)),
        "p90": float(np.quantile(words, 0.9)),
        "most": int(words.max()),
    }


def _images(entity: str, fields: CatalogueFields) -> dict[str, Any]:
    starts = [start for start, _ in IMAGE_BINS]
    bins = np.searchsorted(starts, fields.num_images, "right") - 1
    counts = np.bincount(bins, minlength=len(starts))
    counts = counts[: counts.nonzero()[0].max() + 1]
    named = {name: float(count) for (_, name), count in zip(IMAGE_BINS, counts, strict=False)}
    label = f"Images of a {entity}: " + ", ".join(
        f"{name} images {count:,.0f}" for name, count in named.items()
    )
    return {"chart": histogram(named, label, "images", f"{entity}s"), "label": label}


def _popularity(run: Material, entity: str) -> dict[str, Any] | None:
    """How the training pairs fall on the catalogue: by rank of popularity."""
    met = run.train.candidate_counts(entity)
    total, size = sum(met.values()), run.specs[entity].count
    if not total:
        return None
    counts = np.sort(np.fromiter(met.values(), float))[::-1]
    places = np.unique(np.geomspace(1, len(counts), CURVE_POINTS).round().astype(int))
    ys = counts[places - 1]
    tops = {f"{share:.0%}": top_share(counts, size, share) for share in TOPS}
    never = 1 - len(counts) / size
    told = ", ".join(
        f"the most popular {name} have {share:.0%} of them" for name, share in tops.items()
    )
    label = (
        f"Training pairs of each {entity} by its rank of popularity, both axes logarithmic. Of "
        f"{total:,} pairs {told}; {never:.0%} of the {size:,} {entity}s have none."
    )
    chart = line_chart(
        [Line(entity, places.tolist(), ys.tolist())],
        label,
        "rank of popularity",
        "training pairs",
        log_x=True,
        log_y=True,
    )
    return {"chart": chart, "label": label}


def top_share(counts: np.ndarray, size: int, share: float) -> float:
    """Share of all pairs that the most popular items have.

    Args:
        counts: pairs of each item that has any, `[n]`, the largest first.
        size: items of the catalogue, with those of no pair.
        share: of the catalogue; at least one item is taken.
    """
    return float(counts[: max(1, round(size * share))].sum() / counts.sum())
