"""What the product tower looks at: the attention of its [CLS] token, averaged and by product."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_sage.report.page.charts import Row, interval_rows
from tfrs_sage.report.page.cls_attention import (
    CLS,
    Attention,
    averages,
    is_image,
    read_attention,
)
from tfrs_sage.report.page.material import Absent, Material
from tfrs_sage.report.page.pictures import data_uri
from tfrs_sage.training.checkpoints import latest_checkpoint

PRODUCTS, CASES, SIDE, LETTERS = 2000, 2, 112, 80
RULE = (
    "Of the {count} products drawn with seed {seed}, those that have {has} are put in order of the "
    "attention on {what}: {cases} of the most, {cases} in the middle, {cases} of the least."
)


def attention_section(run: Material) -> dict[str, Any] | Absent:
    """The mean share of each feature, and some products with their images and texts."""
    checkpoint = latest_checkpoint(run.path / "checkpoints")
    if checkpoint is None:
        return Absent("the run has not been trained", run.command("train"))
    if run.config.product_tower.fusion != "transformer" and not run.config.product_tower.item_tower:
        return Absent(
            f"product_tower.fusion is {run.config.product_tower.fusion}, which has no attention"
        )
    ids = sorted(run.texts.fields("product").rows)
    random = np.random.default_rng(run.seed)
    drawn = random.permutation(len(ids))[:PRODUCTS]
    found = read_attention(run.path, run.config, checkpoint, [ids[row] for row in drawn])
    if not found:
        return Absent("the run trains no product tower with a transformer")
    means = averages(found)
    rows = [
        Row(
            group,
            one["mean"],
            text=f"{one['mean']:.3f} · {one['products']:.0%}",
            reference=one["equal"],
        )
        for group, one in means.items()
    ]
    label = (
        f"Mean share of the [CLS] token's attention over {len(found):,} products, each feature "
        "among those that have it, with the share of products that do; the upright line is what "
        "equal attention to every token would give: "
        + ", ".join(
            f"{name} {one['mean']:.3f} (equal {one['equal']:.3f})" for name, one in means.items()
        )
    )
    what = "images" if any(one.images for one in found) else next(n for n in means if n != CLS)
    cases = chosen_products(found, what)
    count = sum(len(one) for one in cases.values())
    return {
        "chart": interval_rows(rows, label, bars=True),
        "caption": f"Mean share of the attention over {len(found):,} products, each feature among "
        "those that have it; behind it how many do. Upright: what equal attention to every token "
        "would give.",
        "layers": run.config.product_tower.num_layers,
        "title_encoder": run.config.query_tower.preset is not None,
        "rule": RULE.format(
            count=f"{len(found):,}",
            seed=run.seed,
            has="an image" if what == "images" else f"a {what}",
            what="images" if what == "images" else f"the {what}",
            cases=CASES,
        )
        if count
        else None,
        "what": what,
        "cases": {kind: [_case(run, one) for one in some] for kind, some in cases.items()},
    }


def attention_on(one: Attention, what: str) -> float | None:
    """A product's attention on `images`, or on a feature; None where it has none."""
    if what == "images":
        return one.images if any(map(is_image, one.shares)) else None
    return one.shares.get(what)


def chosen_products(found: Sequence[Attention], what: str) -> dict[str, list[Attention]]:
    """By `RULE`: `most`, `middle`, `least`; no product is in two of them."""
    shares = [(attention_on(one, what), one.product, one) for one in found]
    order = [
        one
        for _, _, one in sorted(
            (s for s in shares if s[0] is not None), reverse=True, key=lambda s: s[:2]
        )
    ]
    middle = max(CASES, (len(order) - CASES) // 2)
    chosen = {"most": order[:CASES], "middle": order[middle : middle + CASES]}
    left = order[middle + CASES :]
    return chosen | {"least": left[-CASES:]}


def _case(run: Material, one: Attention) -> dict[str, Any]:
    fields = run.texts.fields("product")
    row = fields.rows[one.product]
    paths = run.pictures.paths("product", [one.product]).get(one.product, [])
    shares = {name: share for name, share in one.shares.items() if is_image(name)}
    images = []
    for place, share in enumerate(shares.values()):
        # Images that could not be read have no vector: then the places of the two do not agree.
        path = paths[place] if len(paths) >= len(shares) else None
        picture = run.pictures.picture(path, SIDE) if path else None
        images.append({"picture": data_uri(picture) if picture else None, "share": share})
    texts = {
        name: {"share": share, "text": _text(fields.texts, name, row)}
        for name, share in sorted(one.shares.items(), key=lambda item: -item[1])
        if not is_image(name)
    }
    return {
        "title": fields.title(one.product) or one.product,
        "images": images,
        "on_images": one.images,
        "features": texts,
    }


def _text(texts: Mapping[str, Sequence[str]], name: str, row: int) -> str:
    if name not in texts:
        return "" if name == CLS else "(a vector)"
    value = texts[name][row]
    return value if len(value) <= LETTERS else value[:LETTERS] + "…"
