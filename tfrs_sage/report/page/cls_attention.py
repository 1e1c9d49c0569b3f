"""What the product tower's [CLS] token attends to, read from the trained weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_sage.report.catalogue_fields import records_of
from tfrs_sage.schema.features import ID
from tfrs_sage.towers import EntityTower
from tfrs_sage.towers.features import parse_records
from tfrs_sage.training.assemble import assemble
from tfrs_sage.training.checkpoints import restore_checkpoint
from tfrs_sage.training.config import RunConfig

BATCH = 128
CLS, MAIN_IMAGE, OTHER_IMAGES = "[CLS] itself", "main image", "further images"


@dataclass(frozen=True)
class Attention:
    """What [CLS] takes in one product.

    Attributes:
        product: its id.
        shares: by feature that it has, the images one by one as `image 1`, ...; `CLS` is one more.
            They sum to 1.
    """

    product: str
    shares: dict[str, float]

    @property
    def grouped(self) -> dict[str, float]:
        """The same with all images but the first as one."""
        found: dict[str, float] = {}
        for name, share in self.shares.items():
            found[group_of(name)] = found.get(group_of(name), 0.0) + share
        return found

    @property
    def images(self) -> float:
        """Share of all images together."""
        return sum(share for name, share in self.shares.items() if is_image(name))


def is_image(name: str) -> bool:
    """Whether a feature is an image slot."""
    return name.startswith("image ")


def group_of(name: str) -> str:
    """The group that a feature is averaged in."""
    if not is_image(name):
        return name
    return MAIN_IMAGE if name == "image 1" else OTHER_IMAGES


def read_attention(
    run_dir: Path, config: RunConfig, checkpoint: Path, wanted: Sequence[str]
) -> list[Attention] | None:
    """The attention of some products, in the order of the catalogue.

    Args:
        run_dir: a trained run.
        config: its configuration.
        checkpoint: folder of the weights.
        wanted: ids of the products.

    Returns:
        None where the product tower has no transformer, or the run trains no product tower.
    """
    assembly = assemble(run_dir, config)
    tower = assembly.model.towers.get("product")
    tower = getattr(tower, "item_tower", None) or tower
    if not isinstance(tower, EntityTower) or tower.config.fusion != "transformer":
        return None
    restore_checkpoint(checkpoint, assembly.model)
    found = []
    features_of, spec = assembly.features["product"], assembly.specs["product"]
    records = [record for _, record in records_of(run_dir, "product", set(wanted))]
    for start in range(0, len(records), BATCH):
        raw = parse_records(tf.constant(records[start : start + BATCH]), spec)
        weights, mask = tower.cls_attention(features_of(raw))
        ids = [one.decode() for one in raw[ID].numpy()]
        names = [CLS, *tower.feature_names(mask.shape[1] - _others(tower))]
        present = np.pad(mask.numpy(), ((0, 0), (1, 0)), constant_values=True)
        for one, row, there in zip(ids, weights.numpy(), present, strict=True):
            shares = {n: float(w) for n, w, p in zip(names, row, there, strict=True) if p}
            found.append(Attention(one, shares))
    return found


def _others(tower: EntityTower) -> int:
    """How many features are no image slots."""
    return len(tower.feature_names(0))


def averages(found: Sequence[Attention]) -> dict[str, Mapping[str, float]]:
    """By group of features, over the products that have it: share, what equal shares would be.

    Returns:
        By group `mean`, `equal` (its tokens over all tokens of the product) and `products` (share
        of the products that have it), most attended first.
    """
    sums: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        tokens = len(one.shares)
        groups: dict[str, int] = {}
        for name in one.shares:
            groups[group_of(name)] = groups.get(group_of(name), 0) + 1
        for group, share in one.grouped.items():
            sums.setdefault(group, []).append((share, groups[group] / tokens))
    told = {
        group: {
            "mean": float(np.mean([share for share, _ in pairs])),
            "equal": float(np.mean([equal for _, equal in pairs])),
            "products": len(pairs) / len(found),
        }
        for group, pairs in sums.items()
    }
    return dict(sorted(told.items(), key=lambda item: -item[1]["mean"]))
