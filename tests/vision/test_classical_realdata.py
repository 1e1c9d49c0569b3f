"""The classical descriptor on real product photographs: neighbours share type and colour."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tfrs_sage.vision import ImageSource, image_encoder

FASHION = Path(__file__).parents[3] / "shared" / "data" / "fashion"


@pytest.mark.realdata
@pytest.mark.skipif(not FASHION.is_dir(), reason=f"no real product photographs at {FASHION}")
def test_nearest_neighbours_of_real_products_share_type_and_colour() -> None:
    table = pq.read_table(
        FASHION / "products.parquet", columns=["product_type", "color", "image_paths"]
    )
    rows = table.take(np.random.default_rng(0).choice(len(table), 2000, replace=False)).to_pylist()
    rows = [row for row in rows if row["image_paths"] and row["product_type"] and row["color"]]
    source = ImageSource(str(FASHION))
    vectors = image_encoder("classical").encode([source.read(r["image_paths"][0]) for r in rows])
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = scores.argmax(axis=1)
    agreement = {}
    for name in ("product_type", "color"):
        labels = np.array([row[name] for row in rows])
        agreement[name] = (labels == labels[nearest]).mean()
    # Measured among 5,000: type 0.67 (chance 0.05), colour 0.48 (chance 0.10).
    assert agreement["product_type"] > 0.5
    assert agreement["color"] > 0.35
